// How the programs are found, called and understood, with scripts in their place. The real ones: test/kernel/.
#include "kernel/iptables/linux.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace ghostip::kernel::iptables {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Scripts {
  public:
    Scripts() {
        std::string name = (std::filesystem::temp_directory_path() / "ghostip-scripts-XXXXXX").string();
        EXPECT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    ~Scripts() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    Scripts(const Scripts&) = delete;
    Scripts& operator=(const Scripts&) = delete;

    // `name` says this to --version, and has the two others beside it; its -restore runs `restore`.
    void put(const std::string& name, const std::string& version, const std::string& restore = "exit 0") {
        write(name, "echo '" + version + "'");
        write(name + "-save", "exit 0");
        write(name + "-restore", restore);
    }
    void write(const std::string& name, const std::string& script) {
        const std::string path = folder_ + "/" + name;
        std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
        ::chmod(path.c_str(), 0755);
    }
    [[nodiscard]] std::string read(const std::string& name) const {
        std::ifstream file(folder_ + "/" + name);
        return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    }
    [[nodiscard]] const std::string& folder() const { return folder_; }
    [[nodiscard]] LinuxOptions options() const {
        LinuxOptions options;
        options.folders = {"/no/such/folder", folder_};
        options.locks = {folder_ + "/lock", folder_};
        options.time_limit = 10s;
        return options;
    }
    [[nodiscard]] std::unique_ptr<LinuxIptables> open(Variant variant, net::Family family = net::Family::kIpv4) const {
        auto opened = LinuxIptables::open(variant, family, options());
        EXPECT_TRUE(opened) << opened.error().message;
        return opened ? std::move(*opened) : nullptr;
    }

  private:
    std::string folder_;
};

TEST(LinuxIptables, APlainNameIsOfTheVariantThatItSays) {
    struct Row {
        std::vector<std::pair<const char*, const char*>> programs;
        std::vector<Variant> found;
        const char* nft;
        const char* legacy;
    };
    const std::vector<Row> rows{
        {{}, {}, "", ""},
        {{{"iptables", "iptables v1.8.9 (nf_tables)"}}, {Variant::kNft}, "iptables", ""},
        {{{"iptables", "iptables v1.8.9 (legacy)"}}, {Variant::kLegacy}, "", "iptables"},
        {{{"iptables", "iptables v1.6.1"}}, {Variant::kLegacy}, "", "iptables"},
        {{{"iptables", "what?"}}, {}, "", ""},
        {{{"ip6tables", "ip6tables v1.8.9 (nf_tables)"}}, {}, "", ""},
        {{{"iptables", "iptables v1.8.9 (nf_tables)"},
          {"iptables-nft", "iptables v1.8.9 (nf_tables)"},
          {"iptables-legacy", "iptables v1.8.9 (legacy)"}},
         {Variant::kNft, Variant::kLegacy},
         "iptables-nft",
         "iptables-legacy"},
    };
    for (const auto& row : rows) {
        Scripts scripts;
        for (const auto& [name, version] : row.programs) scripts.put(name, version);
        EXPECT_EQ(find_variants(net::Family::kIpv4, scripts.options()), row.found);
        for (const auto variant : {Variant::kNft, Variant::kLegacy}) {
            const std::string expected = variant == Variant::kNft ? row.nft : row.legacy;
            const auto opened = LinuxIptables::open(variant, net::Family::kIpv4, scripts.options());
            ASSERT_EQ(opened.has_value(), !expected.empty());
            if (opened) {
                EXPECT_EQ((*opened)->program(), scripts.folder() + "/" + expected);
            } else {
                EXPECT_EQ(opened.error().code, ENOENT);
            }
        }
    }
}

TEST(LinuxIptables, AProgramWithoutItsRestoreIsNone) {
    Scripts scripts;
    scripts.write("iptables", "echo 'iptables v1.8.9 (nf_tables)'");
    scripts.write("iptables-save", "exit 0");
    EXPECT_THAT(find_variants(net::Family::kIpv4, scripts.options()), IsEmpty());
}

TEST(LinuxIptables, NothingOfThisProcessIsInherited) {
    Scripts scripts;
    scripts.put("ip6tables", "ip6tables v1.8.9 (nf_tables)",
                "cd \"${0%/*}\"; echo \"$@\" > arguments; env > environment; cat > input");
    ::setenv("GHOSTIP_SECRET", "yes", 1);
    const auto iptables = scripts.open(Variant::kNft, net::Family::kIpv6);
    ASSERT_NE(iptables, nullptr);
    EXPECT_EQ(iptables->family(), net::Family::kIpv6);
    EXPECT_EQ(iptables->version(), (Version{1, 8, 9}));
    const auto refused = iptables->restore("*filter\nCOMMIT\n");
    ::unsetenv("GHOSTIP_SECRET");
    ASSERT_TRUE(refused) << refused.error().message;
    EXPECT_EQ(*refused, std::nullopt);
    EXPECT_EQ(scripts.read("input"), "*filter\nCOMMIT\n");
    EXPECT_EQ(scripts.read("arguments"), "--noflush -w 5\n");
    EXPECT_THAT(scripts.read("environment"), HasSubstr("LC_ALL=C\n"));
    EXPECT_THAT(scripts.read("environment"), Not(HasSubstr("GHOSTIP_SECRET")));
}

TEST(LinuxIptables, AnOldRestoreThatKnowsItsVersionWaits) {
    Scripts scripts;
    scripts.put("iptables", "iptables v1.6.1", "echo \"$@\" >> \"${0%/*}/arguments\"");
    const auto iptables = scripts.open(Variant::kLegacy);
    ASSERT_NE(iptables, nullptr);
    EXPECT_TRUE(iptables->restore("*filter\nCOMMIT\n"));
    EXPECT_EQ(scripts.read("arguments"), "--version\n--noflush -w\n");
    EXPECT_FALSE(std::filesystem::exists(scripts.folder() + "/lock"));
}

TEST(LinuxIptables, LocksAreTakenForAnOldRestore) {
    Scripts scripts;
    scripts.put("iptables", "iptables v1.4.21",
                "[ \"$1\" = --version ] && exit 2\necho \"$@\" > \"${0%/*}/arguments\"\n"
                "flock --nonblock \"${0%/*}/lock\" true && echo free > \"${0%/*}/lock-was\"\nexit 0");
    const auto iptables = scripts.open(Variant::kLegacy);
    ASSERT_NE(iptables, nullptr);
    const auto refused = iptables->restore("*filter\nCOMMIT\n");
    ASSERT_TRUE(refused) << refused.error().message;
    EXPECT_EQ(*refused, std::nullopt);
    EXPECT_EQ(scripts.read("arguments"), "--noflush\n");
    EXPECT_FALSE(std::filesystem::exists(scripts.folder() + "/lock-was"));

    const auto theirs = Locks::take(scripts.options().locks, 0ms);
    ASSERT_TRUE(theirs) << "they were not given back";
    const auto held = iptables->restore("*filter\nCOMMIT\n");
    ASSERT_TRUE(held) << held.error().message;
    ASSERT_TRUE(*held);
    EXPECT_TRUE((*held)->lock_held);
}

TEST(LinuxIptables, AProgramThatEndsBadly) {
    Scripts scripts;
    scripts.put("iptables", "iptables v1.8.9 (nf_tables)", "echo 'iptables-restore: line 7 failed' >&2; exit 1");
    auto options = scripts.options();
    options.time_limit = 300ms;
    const auto opened = LinuxIptables::open(Variant::kNft, net::Family::kIpv4, options);
    ASSERT_TRUE(opened) << opened.error().message;
    auto& iptables = **opened;
    const auto refused = iptables.restore("*filter\nCOMMIT\n");
    ASSERT_TRUE(refused) << refused.error().message;
    EXPECT_EQ(*refused, (Refusal{"iptables-restore: line 7 failed", 7, false}));

    // Then nobody knows what was taken.
    scripts.write("iptables-restore", "kill -SEGV $$");
    const auto crashed = iptables.restore("*filter\nCOMMIT\n");
    ASSERT_FALSE(crashed);
    EXPECT_THAT(crashed.error().message, HasSubstr("signal 11"));
    scripts.write("iptables-restore", "sleep 1000");
    const auto late = iptables.restore("*filter\nCOMMIT\n");
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ETIMEDOUT);
    std::filesystem::remove(scripts.folder() + "/iptables-restore");
    const auto gone = iptables.restore("*filter\nCOMMIT\n");
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().code, ENOENT);
}

TEST(LinuxIptables, ProgramsThatWriteAreListed) {
    Scripts scripts;
    scripts.put("iptables-nft", "iptables v1.8.9 (nf_tables)", "cat >/dev/null; echo $$ >" + scripts.folder() + "/id");
    auto options = scripts.options();
    options.writers = std::make_shared<RunningPrograms>();
    const auto id = [&] { return static_cast<std::uint32_t>(std::stoul("0" + scripts.read("id"))); };
    std::vector<bool> listed;
    options.writers->before_forgetting([&] { listed.push_back(options.writers->contains(id())); });
    auto iptables = LinuxIptables::open(Variant::kNft, net::Family::kIpv4, options);
    ASSERT_TRUE(iptables) << iptables.error().message;
    EXPECT_THAT(listed, IsEmpty()) << "who only asks for a version writes nothing";
    ASSERT_TRUE((*iptables)->restore("*nat\nCOMMIT\n"));
    EXPECT_THAT(listed, ::testing::ElementsAre(true));
    EXPECT_FALSE(options.writers->contains(id()));
}

}  // namespace
}  // namespace ghostip::kernel::iptables

// The watch of rules against the real nf_tables and the real iptables-nft: what others write is told, with who did it;
// what programs of ours write is not, even when both write at the same time.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/subprocess.h"
#include "kernel/iptables/linux.h"
#include "kernel/nft/rule_watch.h"
#include "support/namespace.h"

namespace ghostip {
namespace {

using kernel::iptables::LinuxIptables;
using kernel::iptables::LinuxOptions;
using kernel::iptables::Variant;
using kernel::nft::Announcement;
using kernel::nft::RuleWatch;
using kernel::nft::RuleWrite;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using What = Announcement::What;

// Concerned is who has chains that begin with OURS, and rules that lead there.
bool concerns(const Announcement& said) {
    return said.table == "nat" && (said.what == What::kTableDeleted || said.chain.starts_with("OURS") ||
                                   (said.what == What::kRuleDeleted && said.target.value_or("").starts_with("OURS")));
}

struct Place {
    testnet::Namespace space;
    std::shared_ptr<RunningPrograms> ours = std::make_shared<RunningPrograms>();
    std::unique_ptr<LinuxIptables> iptables = nullptr;
    std::unique_ptr<RuleWatch> watch = nullptr;

    static Place make(net::Family family = net::Family::kIpv4,
                      int receive_buffer_bytes = kernel::nft::Notifications::kReceiveBufferBytes) {
        auto space = testnet::Namespace::create();
        if (!space) ADD_FAILURE() << "needs root: " << space.error().message;
        Place place{std::move(*space)};
        const auto inside = place.space.enter();
        LinuxOptions options;
        options.writers = place.ours;
        place.iptables = std::move(*LinuxIptables::open(Variant::kNft, family, options));
        place.watch = std::move(*RuleWatch::open(concerns, {place.ours}, receive_buffer_bytes));
        return place;
    }
    void restore(std::string_view text) const {
        const auto inside = space.enter();
        const auto refused = iptables->restore(text);
        ASSERT_TRUE(refused) << refused.error().message;
        ASSERT_FALSE(*refused) << (*refused)->reason;
    }
    void foreign(const std::vector<std::string>& argv) const {
        const auto done = space.must_run(argv);
        EXPECT_TRUE(done) << done.error().message;
    }
    // Everything that is told up to the end of a program of ours, which reads what has arrived.
    [[nodiscard]] std::vector<RuleWrite> told() const {
        restore("*nat\n:OURS-LAST - [0:0]\nCOMMIT\n");
        const Fd stop(::eventfd(1, EFD_CLOEXEC));
        const auto all = watch->wait(stop.get());
        EXPECT_TRUE(all) << all.error().message;
        return all.value_or(std::vector<RuleWrite>());
    }
};

constexpr std::string_view kOurRules =
    "*nat\n:OURS-A - [0:0]\n:OURS-B - [0:0]\n-A OURS-A -p tcp -j OURS-B\n-A OURS-B -p tcp -j ACCEPT\n"
    "-I OUTPUT -j OURS-A\nCOMMIT\n";

class RuleWatchOf : public ::testing::TestWithParam<net::Family> {
  protected:
    [[nodiscard]] std::string program() const {
        return GetParam() == net::Family::kIpv4 ? "iptables-nft" : "ip6tables-nft";
    }
};

TEST_P(RuleWatchOf, TellsWhatOthersDoToOurChains) {
    const Place place = Place::make(GetParam());
    place.restore(kOurRules);
    ASSERT_THAT(place.told(), IsEmpty()) << "ours";
    struct Case {
        std::vector<std::string> arguments;
        What what;
        const char* chain;
        const char* target;
    };
    const std::vector<Case> cases{
        {{"-D", "OURS-A", "1"}, What::kRuleDeleted, "OURS-A", "OURS-B"},
        {{"-A", "OURS-B", "-j", "RETURN"}, What::kRuleAdded, "OURS-B", ""},
        {{"-D", "OUTPUT", "1"}, What::kRuleDeleted, "OUTPUT", "OURS-A"},
        {{"-X", "OURS-A"}, What::kChainDeleted, "OURS-A", ""},
        {{"-N", "OURS-C"}, What::kChainAdded, "OURS-C", ""},
        {{"-E", "OURS-C", "OURS-D"}, What::kChainRenamed, "OURS-D", ""},
    };
    for (const auto& c : cases) {
        std::vector<std::string> argv{program(), "-t", "nat"};
        argv.insert(argv.end(), c.arguments.begin(), c.arguments.end());
        place.foreign(argv);
        const auto told = place.told();
        ASSERT_EQ(told.size(), 1U) << argv[3];
        EXPECT_EQ(told[0].family, GetParam());
        EXPECT_EQ(told[0].process_name, program());
        EXPECT_NE(told[0].process_id, 0U);
        EXPECT_THAT(told[0].changes, ElementsAre(kernel::nft::RuleChange{c.what, "nat", c.chain, c.target, 1}))
            << argv[3];
    }
    place.foreign({"nft", "flush", "ruleset"});
    const auto told = place.told();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].changes.back().what, What::kTableDeleted);
    EXPECT_EQ(told[0].process_name, "nft");
}

TEST_P(RuleWatchOf, IsSilentAboutWhatConcernsNobody) {
    const Place place = Place::make(GetParam());
    place.restore(kOurRules);
    place.foreign({program(), "-t", "nat", "-N", "THEIRS"});
    place.foreign({program(), "-t", "nat", "-A", "THEIRS", "-j", "RETURN"});
    place.foreign({program(), "-t", "nat", "-I", "OUTPUT", "-j", "THEIRS"});
    place.foreign({program(), "-t", "nat", "-D", "OUTPUT", "-j", "THEIRS"});
    place.foreign({program(), "-t", "nat", "-F", "THEIRS"});
    place.foreign({program(), "-t", "nat", "-X", "THEIRS"});
    place.foreign({program(), "-P", "FORWARD", "DROP"});
    EXPECT_THAT(place.told(), IsEmpty());
}

// What others write while our program runs is told, and nothing of ours, however the two fall together.
TEST(RuleWatch, TellsThemApartWhileBothWrite) {
    constexpr int kRounds = 200;
    constexpr int kForeign = 40;
    const Place place = Place::make();
    place.restore(kOurRules);
    ASSERT_THAT(place.told(), IsEmpty());
    std::atomic<int> failures = 0;
    std::thread other([&] {
        for (int i = 0; i < kForeign; ++i)
            if (!place.space.must_run(
                    {"iptables-nft", "-t", "nat", "-A", "OURS-B", "-s", fmt::format("10.9.0.{}", i), "-j", "RETURN"}))
                ++failures;
    });
    for (int i = 0; i < kRounds; ++i)
        place.restore(fmt::format("*nat\n:OURS-A - [0:0]\n-A OURS-A -s 10.8.0.{} -p tcp -j OURS-B\nCOMMIT\n", i));
    other.join();
    EXPECT_EQ(failures, 0);
    int rules = 0;
    for (const auto& write : place.told()) {
        EXPECT_EQ(write.process_name, "iptables-nft");
        EXPECT_FALSE(write.lost);
        for (const auto& change : write.changes) {
            EXPECT_EQ(change.chain, "OURS-B");
            rules += static_cast<int>(change.count);
        }
    }
    EXPECT_EQ(rules, kForeign);
}

TEST(RuleWatch, ALossIsTold) {
    const Place place = Place::make(net::Family::kIpv4, 4096);
    std::string text = "*nat\n";
    for (int i = 0; i < 500; ++i) text += fmt::format(":OURS-{} - [0:0]\n", i);
    place.restore(text + "COMMIT\n");
    const auto told = place.told();
    ASSERT_GE(told.size(), 2U);
    EXPECT_TRUE(told[0].lost && told[1].lost);
}

// The thread that waits is woken by what another has read for it, and by the stop.
TEST(RuleWatch, WakesWhoWaits) {
    const Place place = Place::make();
    place.restore(kOurRules);
    const Fd stop(::eventfd(0, EFD_CLOEXEC));
    std::atomic<std::size_t> writes = 0;
    std::thread waits([&] {
        while (true) {
            const auto some = place.watch->wait(stop.get());
            EXPECT_TRUE(some) << some.error().message;
            if (!some || some->empty()) return;
            writes += some->size();
        }
    });
    place.foreign({"iptables-nft", "-t", "nat", "-A", "OURS-B", "-j", "RETURN"});
    place.restore("*nat\n:OURS-LAST - [0:0]\nCOMMIT\n");
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (writes == 0 && std::chrono::steady_clock::now() < deadline) ::poll(nullptr, 0, 10);
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(stop.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    waits.join();
    EXPECT_EQ(writes, 1U);
}

// Lists outlive the watch.
TEST(RuleWatch, OursGoOnWithoutIt) {
    Place place = Place::make();
    place.watch.reset();
    place.restore(kOurRules);
}

INSTANTIATE_TEST_SUITE_P(Families, RuleWatchOf, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip

#include "kernel/sysctl/linux.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ghostip::kernel::sysctl {
namespace {

using ::testing::HasSubstr;

// A folder that stands for the root of a file system.
struct Root {
    Root() {
        std::string name = (std::filesystem::temp_directory_path() / "ghostip-sysctl-XXXXXX").string();
        path = ::mkdtemp(name.data());
    }
    ~Root() { std::filesystem::remove_all(path); }
    Root(const Root&) = delete;
    Root& operator=(const Root&) = delete;
    void put(const std::string& name, const std::string& text) const { std::ofstream(path + name) << text; }

    std::string path;
};

TEST(LinuxSysctl, ReadsNumbers) {
    const Root root;
    const LinuxSysctl sysctl(root.path);
    for (const auto& [text, value] :
         std::map<std::string, std::int64_t>{{"1\n", 1}, {"131072\n", 131072}, {"-1", -1}}) {
        root.put("/x", text);
        const auto result = sysctl.read("/x");
        ASSERT_TRUE(result) << text;
        EXPECT_EQ(*result, value) << text;
    }
    for (const char* text : {"", "\n", "one\n", "1 2\n", "99999999999999999999\n"}) {
        root.put("/x", text);
        const auto result = sysctl.read("/x");
        ASSERT_FALSE(result) << text;
        EXPECT_THAT(result.error().message, HasSubstr("/x"));
    }
}

TEST(LinuxSysctl, WritesAndSaysWhatFailed) {
    const Root root;
    LinuxSysctl sysctl(root.path);
    root.put("/x", "1");
    ASSERT_TRUE(sysctl.write("/x", 2));
    EXPECT_EQ(*sysctl.read("/x"), 2);
    const auto missing = sysctl.write("/y", 3);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ENOENT);
    EXPECT_EQ(missing.error().message, "write 3 to /y: No such file or directory");
}

TEST(LinuxSysctl, ReadsTheKernel) { EXPECT_TRUE(LinuxSysctl().read("/proc/sys/kernel/pid_max")); }

}  // namespace
}  // namespace ghostip::kernel::sysctl

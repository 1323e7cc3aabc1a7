#include "agent/process.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ghostip::agent {
namespace {

using ::testing::HasSubstr;

TEST(Process, IsDescribed) {
    EXPECT_GT(resident_memory_bytes(), 100'000);
    EXPECT_GE(cpu_seconds(), 0);
    EXPECT_GE(thread_count(), 1);
    const double before = open_descriptors();
    EXPECT_GE(before, 3);
    const int extra = ::dup(2);
    EXPECT_EQ(open_descriptors(), before + 1);
    ::close(extra);
    const auto now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    EXPECT_LE(start_time_seconds(), now + 2);
    EXPECT_GT(start_time_seconds(), now - 3600);
}

TEST(Process, AdjustsTheOomScore) {
    std::string path = (std::filesystem::temp_directory_path() / "ghostip-oom-XXXXXX").string();
    const int fd = ::mkstemp(path.data());
    ASSERT_GE(fd, 0);
    ::close(fd);
    ASSERT_TRUE(set_oom_score_adjustment(-999, path));
    std::ifstream file(path);
    std::string text;
    std::getline(file, text);
    EXPECT_EQ(text, "-999");
    for (const int bad : {-1001, 1001}) {
        const auto result = set_oom_score_adjustment(bad, path);
        ASSERT_FALSE(result);
        EXPECT_THAT(result.error().message, HasSubstr("oomScoreAdj: " + std::to_string(bad)));
    }
    std::filesystem::remove(path);
    const auto missing = set_oom_score_adjustment(0, path);
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, ENOENT);
}

}  // namespace
}  // namespace ghostip::agent

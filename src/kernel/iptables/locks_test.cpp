#include "kernel/iptables/locks.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace ghostip::kernel::iptables {
namespace {

using namespace std::chrono_literals;

// Places that nobody else uses.
class Places {
  public:
    Places() {
        std::string name = (std::filesystem::temp_directory_path() / "ghostip-locks-XXXXXX").string();
        EXPECT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    ~Places() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    Places(const Places&) = delete;
    Places& operator=(const Places&) = delete;
    [[nodiscard]] LockPlaces here() const { return {folder_ + "/lock", folder_}; }

  private:
    std::string folder_;
};

TEST(IptablesLocks, OnlyOneHasThem) {
    const Places places;
    {
        const auto first = Locks::take(places.here(), 0ms);
        ASSERT_TRUE(first) << first.error().message;
        struct stat file {};
        ASSERT_EQ(::stat(places.here().file.c_str(), &file), 0);
        EXPECT_EQ(file.st_mode & 07777U, 0600U);
        const auto second = Locks::take(places.here(), 0ms);
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().code, EBUSY) << second.error().message;
    }
    EXPECT_TRUE(Locks::take(places.here(), 0ms));
}

TEST(IptablesLocks, EitherOneIsEnoughToFail) {
    const Places places;
    const Places others;
    const auto theirs = Locks::take(places.here(), 0ms);
    ASSERT_TRUE(theirs);
    const auto same_file = Locks::take({places.here().file, others.here().socket}, 0ms);
    ASSERT_FALSE(same_file);
    EXPECT_EQ(same_file.error().code, EBUSY);
    const auto same_socket = Locks::take({others.here().file, places.here().socket}, 1ms);
    ASSERT_FALSE(same_socket);
    EXPECT_EQ(same_socket.error().code, EBUSY);
    // What was taken before the failure was given back.
    EXPECT_TRUE(Locks::take(others.here(), 0ms));
}

TEST(IptablesLocks, APlaceThatCannotBe) {
    const auto nowhere = Locks::take({"/no/such/folder/lock", "x"}, 0ms);
    ASSERT_FALSE(nowhere);
    EXPECT_EQ(nowhere.error().code, ENOENT);
    const Places places;
    EXPECT_FALSE(Locks::take({places.here().file, std::string(200, 's')}, 0ms));
}

}  // namespace
}  // namespace ghostip::kernel::iptables

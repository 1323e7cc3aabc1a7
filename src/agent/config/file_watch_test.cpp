#include "agent/config/file_watch.h"

#include <fcntl.h>
#include <sys/eventfd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include <gtest/gtest.h>

namespace ghostip::agent::config {
namespace {

namespace fs = std::filesystem;

class FileWatching : public ::testing::Test {
  public:
    FileWatching() {
        std::string name = (fs::temp_directory_path() / "file_watch_XXXXXX").string();
        folder_ = ::mkdtemp(name.data());
        std::ofstream(file()) << "a\n";
    }
    ~FileWatching() override { fs::remove_all(folder_); }
    FileWatching(const FileWatching&) = delete;
    FileWatching& operator=(const FileWatching&) = delete;

  protected:
    [[nodiscard]] fs::path file() const { return folder_ / "config.yaml"; }

    // Whether `change` counts: a change that is there wins over a stop that is signalled from the start.
    bool seen(const std::function<void()>& change) {
        auto watch = FileWatch::open(file());
        EXPECT_TRUE(watch);
        change();
        const Fd stopped{::eventfd(1, EFD_CLOEXEC)};
        const auto pending = watch->wait(stopped.get());
        EXPECT_TRUE(pending);
        return *pending;
    }

    fs::path folder_;
};

TEST_F(FileWatching, AWriteOrARenamingCounts) {
    EXPECT_TRUE(seen([&] { std::ofstream(file(), std::ios::app) << "b\n"; }));
    EXPECT_TRUE(seen([&] { fs::rename(file(), folder_ / "other"); }));
}

TEST_F(FileWatching, OtherChangesDoNot) {
    EXPECT_FALSE(seen([] {}));
    EXPECT_FALSE(seen([&] { fs::permissions(file(), fs::perms::owner_read); }));
    EXPECT_FALSE(seen([&] {
        std::ofstream(folder_ / "new") << "c\n";
        fs::rename(folder_ / "new", file());
    })) << "another file in its place";
}

TEST_F(FileWatching, ALinkIsWatchedWhereItLeads) {
    const auto link = folder_ / "link";
    fs::create_symlink(file(), link);
    auto watch = FileWatch::open(link);
    ASSERT_TRUE(watch);
    std::ofstream(file(), std::ios::app) << "b\n";
    const Fd never{::eventfd(0, EFD_CLOEXEC)};
    const auto changed = watch->wait(never.get());
    ASSERT_TRUE(changed);
    EXPECT_TRUE(*changed);
}

TEST_F(FileWatching, WhatIsNotThereCannotBeWatched) {
    const auto watch = FileWatch::open(folder_ / "none");
    ASSERT_FALSE(watch);
    EXPECT_NE(watch.error().message.find("none: No such file"), std::string::npos) << watch.error().message;
}

}  // namespace
}  // namespace ghostip::agent::config

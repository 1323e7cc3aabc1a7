#include "source/manifests/manifest_source.h"

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/manifests/manifest_testing.h"

namespace ghostip::source {
namespace {

using namespace std::chrono_literals;
using testing::service;

constexpr auto kDeadline = 20s;

class ManifestSources : public ::testing::Test {
  protected:
    void start(const std::filesystem::path& path) {
        source_ = std::make_unique<ManifestSource>(path, [this](const api::Problem& problem) {
            const std::lock_guard lock(mutex_);
            problems_.push_back(problem.text());
            problem_came_.notify_all();
        });
        const auto started = source_->start(queue_);
        ASSERT_TRUE(started) << started.error().message;
        ASSERT_TRUE(wait_for([this] { return synced_; }));
    }
    void TearDown() override {
        if (source_) source_->stop();
    }

    // Takes what comes until the condition holds.
    bool wait_for(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + kDeadline;
        while (!condition()) {
            const auto left =
                std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
            if (left <= 0ms) return false;
            auto batch = queue_.take(left);
            synced_ = batch.synced;
            for (auto& change : batch.changes) {
                if (!change.object) removals_.push_back(change.key.name);
                if (change.object)
                    ports_[change.key.name] =
                        std::get<std::shared_ptr<const api::Service>>(*change.object)->ports.at(0).port;
                else
                    ports_.erase(change.key.name);
            }
        }
        return true;
    }
    bool wait_for_port(const std::string& name, int port) {
        return wait_for([&] { return ports_.contains(name) && ports_[name] == port; });
    }
    bool wait_for_gone(const std::string& name) {
        return wait_for([&] { return !ports_.contains(name); });
    }
    bool wait_for_problem(const std::string& part) {
        std::unique_lock lock(mutex_);
        return problem_came_.wait_for(lock, kDeadline, [&] {
            return std::any_of(problems_.begin(), problems_.end(),
                               [&](const std::string& problem) { return problem.find(part) != std::string::npos; });
        });
    }

    testing::TemporaryFolder folder_;
    api::ChangeQueue queue_;
    std::unique_ptr<ManifestSource> source_;
    std::map<std::string, int> ports_;
    std::vector<std::string> removals_;
    bool synced_ = false;
    std::mutex mutex_;
    std::condition_variable problem_came_;
    std::vector<std::string> problems_;  // guarded by mutex_
};

TEST_F(ManifestSources, PathMustExist) {
    ManifestSource source(folder_.path() / "no", [](const api::Problem&) {});
    EXPECT_FALSE(source.start(queue_));
    source.stop();
}

TEST_F(ManifestSources, DeliverWhatIsThereAndWhatComes) {
    folder_.write("a.yaml", service("a"));
    start(folder_.path());
    EXPECT_TRUE(wait_for_port("a", 80));
    folder_.write("b.yaml", service("b"));
    EXPECT_TRUE(wait_for_port("b", 80));
    folder_.write("a.yaml", service("a", "81"));
    EXPECT_TRUE(wait_for_port("a", 81));
    folder_.replace("b.yaml", service("b", "82"));
    EXPECT_TRUE(wait_for_port("b", 82));
    folder_.remove("a.yaml");
    EXPECT_TRUE(wait_for_gone("a"));
    std::filesystem::rename(folder_.path() / "b.yaml", folder_.path() / "b.yaml.off");
    EXPECT_TRUE(wait_for_gone("b"));
    std::filesystem::rename(folder_.path() / "b.yaml.off", folder_.path() / "b.yaml");
    EXPECT_TRUE(wait_for_port("b", 82));
    EXPECT_THAT(problems_, ::testing::IsEmpty());
}

TEST_F(ManifestSources, AnEditorThatMovesTheFileAwayCutsNothing) {
    folder_.write("a.yaml", service("a"));
    start(folder_.path());
    ASSERT_TRUE(wait_for_port("a", 80));
    for (int port = 100; port < 110; ++port) {
        std::filesystem::rename(folder_.path() / "a.yaml", folder_.path() / "a.yaml~");
        folder_.write("a.yaml", service("a", std::to_string(port)));
        EXPECT_TRUE(wait_for_port("a", port));
    }
    EXPECT_THAT(removals_, ::testing::IsEmpty());
}

TEST_F(ManifestSources, AFileThatIsBeingWrittenIsNotRead) {
    folder_.write("a.yaml", service("a"));
    start(folder_.path());
    ASSERT_TRUE(wait_for_port("a", 80));
    {
        std::ofstream half(folder_.path() / "a.yaml");
        half << service("a", "81") << "---\n{" << std::flush;
        // Something else happens meanwhile.
        folder_.write("b.yaml", service("b"));
        EXPECT_TRUE(wait_for_port("b", 80));
        EXPECT_EQ(ports_["a"], 80);
        half << "apiVersion: v1, kind: Service, metadata: {name: c}, spec: {ports: [{port: 1}]}}" << std::flush;
    }
    EXPECT_TRUE(wait_for_port("c", 1));
    EXPECT_TRUE(wait_for_port("a", 81));
    const std::lock_guard lock(mutex_);
    EXPECT_THAT(problems_, ::testing::IsEmpty());
}

TEST_F(ManifestSources, ProblemsAreHandedOver) {
    folder_.write("a.yaml", service("a"));
    start(folder_.path());
    folder_.write("a.yaml", service("a", "http"));
    EXPECT_TRUE(wait_for_problem("must be a number from 1 to 65535"));
    EXPECT_TRUE(wait_for_problem("its last version without an error keeps serving"));
    EXPECT_TRUE(wait_for_port("a", 80));
}

TEST_F(ManifestSources, ASingleFileIsWatchedThroughItsFolder) {
    folder_.write("only.yaml", service("a"));
    start(folder_.path() / "only.yaml");
    EXPECT_TRUE(wait_for_port("a", 80));
    folder_.write("other.yaml", service("other"));
    folder_.replace("only.yaml", service("a", "81"));
    EXPECT_TRUE(wait_for_port("a", 81));
    EXPECT_FALSE(ports_.contains("other"));
    folder_.remove("only.yaml");
    EXPECT_TRUE(wait_for_gone("a"));
    folder_.write("only.yaml", service("a", "82"));
    EXPECT_TRUE(wait_for_port("a", 82));
}

TEST_F(ManifestSources, LinksAreFollowed) {
    testing::TemporaryFolder other;
    other.write("x.yaml", service("a"));
    other.write("y.yaml", service("b"));
    start(folder_.path());
    std::filesystem::create_symlink(other.path() / "x.yaml", folder_.path() / "x.yaml");
    EXPECT_TRUE(wait_for_port("a", 80));
    std::filesystem::create_hard_link(other.path() / "y.yaml", folder_.path() / "y.yaml");
    EXPECT_TRUE(wait_for_port("b", 80));
}

TEST_F(ManifestSources, AMountedConfigMapIsSwitchedAtOnce) {
    const auto mount = [&](const char* version, const char* port) {
        std::filesystem::create_directory(folder_.path() / version);
        folder_.write(std::filesystem::path(version) / "a.yaml", service("a", port));
        std::filesystem::create_directory_symlink(version, folder_.path() / "..data_tmp");
        std::filesystem::rename(folder_.path() / "..data_tmp", folder_.path() / "..data");
    };
    mount("..1", "80");
    std::filesystem::create_symlink("..data/a.yaml", folder_.path() / "a.yaml");
    start(folder_.path());
    EXPECT_TRUE(wait_for_port("a", 80));
    mount("..2", "81");
    EXPECT_TRUE(wait_for_port("a", 81));
    EXPECT_THAT(removals_, ::testing::IsEmpty());
}

TEST_F(ManifestSources, AFolderThatIsReplacedIsFollowed) {
    folder_.write("a.yaml", service("a"));
    start(folder_.path());
    ASSERT_TRUE(wait_for_port("a", 80));
    const std::filesystem::path aside = folder_.path().native() + "-aside";
    std::filesystem::rename(folder_.path(), aside);
    EXPECT_TRUE(wait_for_problem("what was read before keeps serving"));
    std::filesystem::create_directory(folder_.path());
    folder_.write("b.yaml", service("b"));
    EXPECT_TRUE(wait_for_port("b", 80));
    EXPECT_TRUE(wait_for_gone("a"));
    folder_.write("b.yaml", service("b", "81"));
    EXPECT_TRUE(wait_for_port("b", 81));
    std::filesystem::remove_all(aside);
}

TEST_F(ManifestSources, BurstsAreNotLost) {
    start(folder_.path());
    constexpr int kFiles = 300;
    for (int i = 0; i < kFiles; ++i) folder_.write(fmt::format("f{}.yaml", i), service(fmt::format("s{}", i)));
    EXPECT_TRUE(wait_for([&] { return ports_.size() == kFiles; }));
    for (int i = 0; i < kFiles; ++i) folder_.remove(fmt::format("f{}.yaml", i));
    EXPECT_TRUE(wait_for([&] { return ports_.empty(); }));
}

TEST_F(ManifestSources, StopEndsTheThread) {
    start(folder_.path());
    source_->stop();
    source_->stop();
    folder_.write("a.yaml", service("a"));
    EXPECT_THAT(queue_.take(0ms).changes, ::testing::IsEmpty());
}

}  // namespace
}  // namespace ghostip::source

#include "base/subprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <csignal>

namespace ghostip {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

Finished finished(const Program& program) {
    auto done = run(program);
    EXPECT_TRUE(done) << done.error().message;
    return done.value_or({});
}

TEST(Subprocess, BothStreamsAndTheCode) {
    const auto done = finished({{"sh", "-c", "cat; echo wrong >&2; exit 3"}, "in and out\n"});
    EXPECT_EQ(done.status, 3);
    EXPECT_EQ(done.out, "in and out\n");
    EXPECT_EQ(done.err, "wrong\n");
    EXPECT_EQ(last_words(done), "wrong");
    EXPECT_EQ(last_words({2, "", "\n"}), "exit code 2");
}

TEST(Subprocess, MoreThanAPipeHolds) {
    const std::string much(3 << 20, 'x');
    EXPECT_EQ(finished({{"cat"}, much}).out.size(), much.size());
}

TEST(Subprocess, InputThatNobodyReads) { EXPECT_EQ(finished({{"true"}, std::string(1 << 20, 'x')}).status, 0); }

// Numbered lines, from a source that keeps one at a time.
class Lines {
  public:
    explicit Lines(int count) : count_(count) {}
    std::string_view next() {
        if (given_ == count_) return {};
        line_ = std::to_string(++given_) + "\n";
        return line_;
    }
    [[nodiscard]] int given() const { return given_; }

  private:
    const int count_;
    int given_ = 0;
    std::string line_;
};

TEST(Subprocess, StreamsBothWays) {
    Lines lines(300000);
    Program program{{"cat"}};
    program.input_source = [&] { return lines.next(); };
    std::size_t size = 0;
    std::size_t pieces = 0;
    char last = 0;
    program.output_sink = [&](std::string_view piece) {
        size += piece.size();
        last = piece.back();
        ++pieces;
    };
    const auto done = finished(program);
    EXPECT_EQ(done.status, 0);
    EXPECT_EQ(done.out, "");
    EXPECT_EQ(size, 1988895U);
    EXPECT_EQ(last, '\n');
    EXPECT_GT(pieces, 10U);
}

TEST(Subprocess, ASourceWithNothingIsAnEmptyInput) {
    Program program{{"wc", "-c"}};
    program.input_source = [] { return std::string_view(); };
    EXPECT_EQ(finished(program).out, "0\n");
}

// The program leaves early; this process neither dies of it nor goes on asking.
TEST(Subprocess, AStreamThatNobodyReads) {
    Lines lines(10'000'000);
    Program program{{"sh", "-c", "read line; echo $line; exit 4"}};
    program.input_source = [&] { return lines.next(); };
    const auto done = finished(program);
    EXPECT_EQ(done.status, 4);
    EXPECT_EQ(done.out, "1\n");
    EXPECT_LT(lines.given(), 1'000'000);
    sigset_t pending;
    sigpending(&pending);
    EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
}

TEST(Subprocess, IsKilledWhileItStreams) {
    Program loud{{"yes"}};
    loud.time_limit = 50ms;
    loud.output_sink = [](std::string_view) {};
    const auto late = run(loud);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ETIMEDOUT);
}

TEST(Subprocess, EndedBySignal) { EXPECT_EQ(finished({{"sh", "-c", "kill -9 $$"}}).status, 128 + SIGKILL); }

TEST(Subprocess, EnvironmentIsExactlyWhatIsGiven) {
    const auto done = finished({{"/usr/bin/env"}, "", std::vector<std::string>{"ONLY=this"}});
    EXPECT_EQ(done.out, "ONLY=this\n");
}

TEST(Subprocess, ThereIsNone) {
    const auto none = run({{"no-such-program-anywhere"}});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, ENOENT);
    EXPECT_THAT(none.error().message, HasSubstr("no-such-program-anywhere"));
    EXPECT_FALSE(run({}));
}

TEST(Subprocess, IsKilledWhenItsTimeIsOver) {
    Program slow{{"sh", "-c", "sleep 1000 & sleep 1000"}};
    slow.time_limit = 50ms;
    const auto late = run(slow);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, ETIMEDOUT);
}

TEST(Subprocess, IsKilledWhenItSaysTooMuch) {
    Program loud{{"yes"}};
    loud.most_output = 100000;
    const auto much = run(loud);
    ASSERT_FALSE(much);
    EXPECT_EQ(much.error().code, EFBIG);
}

// A grandchild that keeps the stream open holds nobody up.
TEST(Subprocess, EndsWithItsProgram) {
    Program leaves{{"sh", "-c", "sleep 1000 & echo $!"}};
    leaves.time_limit = 60s;
    const auto done = finished(leaves);
    const int left = std::stoi(done.out);
    EXPECT_EQ(::kill(left, SIGKILL), 0);
}

TEST(Subprocess, BlockedSignalsAreNotHandedOn) {
    sigset_t blocked;
    sigset_t before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
    const auto done = finished({{"sh", "-c", "kill -TERM $$; echo survived"}});
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    EXPECT_EQ(done.status, 128 + SIGTERM);
    EXPECT_EQ(done.out, "");
}

}  // namespace
}  // namespace ghostip

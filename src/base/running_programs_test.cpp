#include "base/running_programs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <future>
#include <string>
#include <thread>

#include "base/subprocess.h"

namespace ghostip {
namespace {

using namespace std::chrono_literals;

std::uint32_t number(const std::string& text) {
    std::uint32_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

TEST(RunningPrograms, AProgramIsThereFromItsFirstWordToItsEnd) {
    RunningPrograms list;
    std::uint32_t id = 0;
    bool there_while_it_runs = false;
    bool there_at_its_end = false;
    bool was_a_zombie = false;
    list.before_forgetting([&] {
        there_at_its_end = list.contains(id);
        was_a_zombie = ::kill(static_cast<pid_t>(id), 0) == 0;  // nobody else can have the id yet
    });
    Program program{{"sh", "-c", "echo $$"}};
    program.listed = &list;
    program.output_sink = [&](std::string_view piece) {
        id = number(std::string(piece));
        there_while_it_runs = list.contains(id);
    };
    const auto done = run(program);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_NE(id, 0U);
    EXPECT_TRUE(there_while_it_runs);
    EXPECT_TRUE(there_at_its_end);
    EXPECT_TRUE(was_a_zombie);
    EXPECT_FALSE(list.contains(id));
    EXPECT_EQ(done->status, 0);
}

TEST(RunningPrograms, OneThatIsKilledIsForgottenWhenItIsDead) {
    RunningPrograms list;
    std::uint32_t id = 0;
    bool there_at_its_end = false;
    list.before_forgetting([&] { there_at_its_end = list.contains(id); });
    Program program{{"sh", "-c", "echo $$; exec sleep 600"}};
    program.listed = &list;
    program.time_limit = 200ms;
    program.output_sink = [&](std::string_view piece) { id = number(std::string(piece)); };
    const auto done = run(program);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ETIMEDOUT);
    EXPECT_TRUE(there_at_its_end);
    EXPECT_FALSE(list.contains(id));
    EXPECT_EQ(::waitpid(static_cast<pid_t>(id), nullptr, 0), -1) << "it was waited for";
}

TEST(RunningPrograms, NobodyIsAnsweredWhileOneIsBeingStarted) {
    RunningPrograms list;
    std::promise<void> spawning;
    std::promise<void> go_on;
    std::thread starter([&] {
        static_cast<void>(list.start([&]() -> Result<pid_t> {
            spawning.set_value();
            go_on.get_future().wait();
            return 4711;
        }));
    });
    spawning.get_future().wait();
    auto answer = std::async(std::launch::async, [&] { return list.contains(4711); });
    EXPECT_EQ(answer.wait_for(50ms), std::future_status::timeout);
    go_on.set_value();
    EXPECT_TRUE(answer.get());
    starter.join();
}

TEST(RunningPrograms, OneThatDoesNotExistIsNotThere) {
    RunningPrograms list;
    Program program{{"/no/such/program"}};
    program.listed = &list;
    const auto done = run(program);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ENOENT);
    EXPECT_FALSE(list.contains(static_cast<std::uint32_t>(-1)));
}

}  // namespace
}  // namespace ghostip

#include "agent/heartbeat.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <string>

#include <fmt/format.h>

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;

TEST(Heartbeat, IdleIsAliveAndHangingIsNot) {
    Heartbeat heartbeat;
    const auto now = Heartbeat::Clock::now();
    EXPECT_TRUE(heartbeat.alive(now)) << "before the loop begins";
    heartbeat.waiting(60s, now);
    EXPECT_TRUE(heartbeat.alive(now + 60s)) << "a wait that is over any moment";
    EXPECT_FALSE(heartbeat.alive(now + 60s + Heartbeat::kLongestWork)) << "a wait that never ended";
    heartbeat.working(now);
    EXPECT_TRUE(heartbeat.alive(now + 30s)) << "a long sync";
    EXPECT_FALSE(heartbeat.alive(now + Heartbeat::kLongestWork)) << "work that never ended";
}

class Pings : public ::testing::Test {
  protected:
    Pings() : name_(fmt::format("ghostip-pings-{}-{}", ::getpid(), static_cast<const void*>(this))) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        name_.copy(std::begin(address.sun_path) + 1, sizeof address.sun_path - 2);
        const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name_.size());
        EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
        const std::string notify = "@" + name_;
        manager_ = ServiceManager::from([&](const char* variable) -> const char* {
            const std::string_view asked(variable);
            return asked == "NOTIFY_SOCKET" ? notify.c_str() : asked == "WATCHDOG_USEC" ? "3000" : nullptr;
        });
    }
    // "" if nothing came.
    std::string heard(int milliseconds) {
        pollfd readable{socket_.get(), POLLIN, 0};
        if (::poll(&readable, 1, milliseconds) != 1) return "";
        std::array<char, 512> buffer{};
        const auto got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
    }

    std::string name_;
    Fd socket_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ServiceManager manager_;
    Heartbeat heartbeat_;
};

TEST_F(Pings, MoreTimeFirstThenReadyThenPings) {
    WatchdogPings pings(manager_, heartbeat_);
    EXPECT_EQ(heard(5000), "EXTEND_TIMEOUT_USEC=60000000");
    pings.ready("serving");
    pings.ready("a second time is not told");
    std::string next;
    do {
        next = heard(5000);
    } while (next.starts_with("EXTEND"));
    EXPECT_EQ(next, "READY=1\nSTATUS=serving");
    EXPECT_EQ(heard(5000), "WATCHDOG=1");
    EXPECT_EQ(heard(5000), "WATCHDOG=1");
}

TEST_F(Pings, NoneWhileTheLoopHangs) {
    heartbeat_.back_within(-1ms);
    WatchdogPings pings(manager_, heartbeat_);
    pings.ready("serving");
    EXPECT_EQ(heard(5000), "READY=1\nSTATUS=serving");
    EXPECT_EQ(heard(100), "") << "a hundred intervals";
    heartbeat_.working();
    EXPECT_EQ(heard(5000), "WATCHDOG=1") << "it came back";
}

}  // namespace
}  // namespace ghostip::agent

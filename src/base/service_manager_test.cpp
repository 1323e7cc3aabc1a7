#include "base/service_manager.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <map>

namespace ghostip {
namespace {

using Variables = std::map<std::string, std::string>;

ServiceManager manager(const Variables& variables) {
    return ServiceManager::from([&](const char* name) -> const char* {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
    });
}

// The other end, at a path or under an abstract name.
class Listener {
  public:
    explicit Listener(const std::string& name) : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        name.copy(std::begin(address.sun_path), sizeof address.sun_path - 1);
        if (name[0] == '@') address.sun_path[0] = '\0';
        const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
        EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
    }
    std::string heard() {
        pollfd readable{socket_.get(), POLLIN, 0};
        if (::poll(&readable, 1, 5000) != 1) return "nothing";
        std::array<char, 512> buffer{};
        const auto got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
    }

  private:
    Fd socket_;
};

class ServiceManagers : public ::testing::TestWithParam<bool> {
  protected:
    ServiceManagers() {
        auto pattern = (std::filesystem::temp_directory_path() / "ghostip-notify-XXXXXX").string();
        folder_ = ::mkdtemp(pattern.data());
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    [[nodiscard]] std::string name() const {
        return GetParam() ? "@" + folder_.substr(1) : folder_ + "/socket";  // unique both ways
    }
    std::string folder_;
};

TEST_P(ServiceManagers, HearsEachMessage) {
    Listener listener(name());
    const auto service = manager({{"NOTIFY_SOCKET", name()}});
    ASSERT_TRUE(service.listens());
    service.ready("serving");
    EXPECT_EQ(listener.heard(), "READY=1\nSTATUS=serving");
    service.status("waiting");
    EXPECT_EQ(listener.heard(), "STATUS=waiting");
    service.ping();
    EXPECT_EQ(listener.heard(), "WATCHDOG=1");
    service.extend_start(std::chrono::seconds(30));
    EXPECT_EQ(listener.heard(), "EXTEND_TIMEOUT_USEC=30000000");
    service.stopping();
    EXPECT_EQ(listener.heard(), "STOPPING=1");
}

INSTANTIATE_TEST_SUITE_P(Sockets, ServiceManagers, ::testing::Bool(),
                         [](const auto& one) { return one.param ? "Abstract" : "Path"; });

TEST(ServiceManager, NobodyListens) {
    for (const std::string odd : {"", "@", "relative/path", "vsock:2:1"}) {
        const auto service = manager({{"NOTIFY_SOCKET", odd}});
        EXPECT_FALSE(service.listens()) << odd;
        service.ready("nobody hears it");
    }
    EXPECT_FALSE(manager({{"NOTIFY_SOCKET", "/" + std::string(200, 'x')}}).listens());
    EXPECT_FALSE(manager({}).listens());
    manager({{"NOTIFY_SOCKET", "/no/such/socket"}}).ping();  // gone since: no trouble
}

TEST(ServiceManager, WatchdogIsForOneProcess) {
    const auto watchdog = [](Variables more) {
        more.emplace("NOTIFY_SOCKET", "@anything");
        return manager(more).watchdog();
    };
    using std::chrono::microseconds;
    EXPECT_EQ(watchdog({{"WATCHDOG_USEC", "30000000"}}), microseconds(30000000));
    EXPECT_EQ(watchdog({{"WATCHDOG_USEC", "5"}, {"WATCHDOG_PID", std::to_string(::getpid())}}), microseconds(5));
    EXPECT_EQ(watchdog({{"WATCHDOG_USEC", "5"}, {"WATCHDOG_PID", std::to_string(::getppid())}}), std::nullopt);
    for (const auto* odd : {"", "0", "-1", "soon", "5s", "99999999999999999999"})
        EXPECT_EQ(watchdog({{"WATCHDOG_USEC", odd}}), std::nullopt) << odd;
    EXPECT_EQ(watchdog({}), std::nullopt);
}

}  // namespace
}  // namespace ghostip

#include "base/service_manager.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <vector>

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
    std::string heard(std::vector<Fd>* descriptors = nullptr) {
        pollfd readable{socket_.get(), POLLIN, 0};
        if (::poll(&readable, 1, 5000) != 1) return "nothing";
        std::array<char, 512> buffer{};
        alignas(cmsghdr) std::array<char, 256> control{};
        iovec text{buffer.data(), buffer.size()};
        msghdr packet{};
        packet.msg_iov = &text;
        packet.msg_iovlen = 1;
        packet.msg_control = control.data();
        packet.msg_controllen = control.size();
        const auto got = ::recvmsg(socket_.get(), &packet, MSG_CMSG_CLOEXEC);
        if (const auto* header = CMSG_FIRSTHDR(&packet); header != nullptr && descriptors != nullptr)
            for (std::size_t at = 0; at + CMSG_LEN(0) < header->cmsg_len; at += sizeof(int)) {
                int number = -1;
                std::memcpy(&number, CMSG_DATA(header) + at, sizeof number);
                descriptors->emplace_back(number);
            }
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
    service.stopping(std::chrono::seconds(60));
    EXPECT_EQ(listener.heard(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=65000000");
}

INSTANTIATE_TEST_SUITE_P(Sockets, ServiceManagers, ::testing::Bool(),
                         [](const auto& one) { return one.param ? "Abstract" : "Path"; });

TEST_P(ServiceManagers, KeepsDescriptorsForTheNextStart) {
    Listener listener(name());
    const auto service = manager({{"NOTIFY_SOCKET", name()}});
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    std::vector<Fd> pipe;
    pipe.emplace_back(ends[0]);
    pipe.emplace_back(ends[1]);
    service.keep("udp ns/dns:dns 100%", pipe);
    std::vector<Fd> received;
    EXPECT_EQ(listener.heard(&received), "FDSTORE=1\nFDNAME=udp ns/dns%3adns 100%25");
    ASSERT_EQ(received.size(), 2U);
    ASSERT_EQ(::write(received[1].get(), "x", 1), 1);
    char byte = 0;
    EXPECT_EQ(::read(pipe[0].get(), &byte, 1), 1) << "the very pipe";
    service.forget("udp ns/dns:dns 100%");
    EXPECT_EQ(listener.heard(), "FDSTOREREMOVE=1\nFDNAME=udp ns/dns%3adns 100%25");
}

// As a service manager starts a process: numbers in a row, names with colons between.
TEST(ServiceManager, FindsWhatWasKept) {
    constexpr int kFirst = 700;
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const auto kept = [&](const std::string& pid, const std::string& count, const std::string& names) {
        for (int i = 0; i < 3; ++i) EXPECT_EQ(::dup2(null.get(), kFirst + i), kFirst + i);
        const Variables variables{{"LISTEN_PID", pid}, {"LISTEN_FDS", count}, {"LISTEN_FDNAMES", names}};
        auto all = ServiceManager::kept(
            [&](const char* name) -> const char* {
                const auto found = variables.find(name);
                return found == variables.end() ? nullptr : found->second.c_str();
            },
            kFirst);
        std::map<std::string, std::size_t> sizes;
        for (const auto& [name, descriptors] : all) sizes[name] = descriptors.size();
        return sizes;
    };
    using Sizes = std::map<std::string, std::size_t>;
    const auto own = std::to_string(::getpid());
    EXPECT_EQ(kept(own, "3", "a%3ab:c:a%3ab"), (Sizes{{"a:b", 2}, {"c", 1}}));
    EXPECT_EQ(kept(own, "3", "a"), (Sizes{{"a", 1}, {"", 2}})) << "fewer names than descriptors";
    EXPECT_EQ(kept(own, "4", "a:b:c:d"), (Sizes{{"a", 1}, {"b", 1}, {"c", 1}})) << "one was not there";
    EXPECT_EQ(kept(own, "2", "100%:%zz"), (Sizes{{"100%", 1}, {"%zz", 1}})) << "somebody else's";
    for (const auto* odd : {"", "-1", "x"}) EXPECT_EQ(kept(own, odd, "a"), Sizes{}) << odd;
    EXPECT_EQ(kept(std::to_string(::getppid()), "3", "a:b:c"), Sizes{}) << "another process's";
    for (int i = 0; i < 3; ++i) ::close(kFirst + i);
}

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

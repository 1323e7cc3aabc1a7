#include "base/service_manager.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

namespace ghostip {
namespace {

template <typename Number>
std::optional<Number> parse(const char* text) {
    if (text == nullptr) return std::nullopt;
    Number number{};
    const auto* end = text + std::strlen(text);
    const auto parsed = std::from_chars(text, end, number);
    if (parsed.ec != std::errc() || parsed.ptr != end || number <= 0) return std::nullopt;
    return number;
}

// A path, or `@name` for the abstract ones. Empty: no such address.
std::string socket_address(std::string_view text) {
    sockaddr_un address{};
    if (text.size() < 2 || text.size() >= sizeof address.sun_path || (text[0] != '/' && text[0] != '@')) return {};
    address.sun_family = AF_UNIX;
    std::copy(text.begin(), text.end(), std::begin(address.sun_path));
    if (text[0] == '@') address.sun_path[0] = '\0';
    // The length tells how long an abstract name is, so nothing may follow it.
    return {reinterpret_cast<const char*>(&address), offsetof(sockaddr_un, sun_path) + text.size()};
}

constexpr std::size_t kMostDescriptors = 253;  // SCM_MAX_FD of the kernel
constexpr int kFirstDescriptor = 3;            // SD_LISTEN_FDS_START
constexpr int kMostKept = 65536;

// Names of descriptors may have no colon and no control characters. (systemd, fdname_is_valid())
bool plain(char c) { return c >= ' ' && c <= '~' && c != ':' && c != '%'; }

std::string escaped(std::string_view name) {
    std::string text;
    for (const char c : name)
        text += plain(c) ? std::string(1, c) : fmt::format("%{:02x}", static_cast<unsigned char>(c));
    return text;
}

std::string unescaped(std::string_view text) {
    std::string name;
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned char byte = 0;
        const auto* digits = text.data() + i + 1;
        if (text[i] == '%' && i + 2 < text.size() && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
            name += static_cast<char>(byte);
            i += 2;
        } else {
            name += text[i];
        }
    }
    return name;
}

}  // namespace

ServiceManager ServiceManager::from_environment() {
    return from([](const char* name) { return std::getenv(name); });
}

ServiceManager ServiceManager::from(const std::function<const char*(const char*)>& variable) {
    ServiceManager manager;
    const char* socket = variable("NOTIFY_SOCKET");
    if (socket == nullptr) return manager;
    manager.address_ = socket_address(socket);
    if (manager.address_.empty()) return manager;
    manager.socket_ = Fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const char* for_process = variable("WATCHDOG_PID");
    const bool ours = for_process == nullptr || parse<pid_t>(for_process) == ::getpid();
    const auto limit = parse<std::int64_t>(variable("WATCHDOG_USEC"));
    if (ours && limit) manager.watchdog_ = std::chrono::microseconds(*limit);
    return manager;
}

void ServiceManager::ready(std::string_view status) const { send(fmt::format("READY=1\nSTATUS={}", status)); }

void ServiceManager::status(std::string_view text) const { send(fmt::format("STATUS={}", text)); }

void ServiceManager::stopping(std::chrono::microseconds longest) const {
    constexpr std::chrono::microseconds kRest = std::chrono::seconds(5);
    send(longest.count() == 0 ? "STOPPING=1"
                              : fmt::format("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", (longest + kRest).count()));
}

void ServiceManager::ping() const { send("WATCHDOG=1"); }

void ServiceManager::extend_start(std::chrono::microseconds by) const {
    send(fmt::format("EXTEND_TIMEOUT_USEC={}", by.count()));
}

void ServiceManager::keep(std::string_view name, std::span<const Fd> descriptors) const {
    if (descriptors.empty() || descriptors.size() > kMostDescriptors) return;
    send(fmt::format("FDSTORE=1\nFDNAME={}", escaped(name)), descriptors);
}

void ServiceManager::forget(std::string_view name) const {
    send(fmt::format("FDSTOREREMOVE=1\nFDNAME={}", escaped(name)));
}

ServiceManager::Kept ServiceManager::kept() {
    return kept([](const char* name) { return std::getenv(name); }, kFirstDescriptor);
}

ServiceManager::Kept ServiceManager::kept(const std::function<const char*(const char*)>& variable, int first) {
    Kept all;
    if (parse<pid_t>(variable("LISTEN_PID")) != ::getpid()) return all;
    const int count = std::min(parse<int>(variable("LISTEN_FDS")).value_or(0), kMostKept);
    const char* names = variable("LISTEN_FDNAMES");
    std::string_view rest = names == nullptr ? "" : names;
    for (int i = 0; i < count; ++i) {
        const auto colon = std::min(rest.find(':'), rest.size());
        Fd descriptor(first + i);
        if (::fcntl(descriptor.get(), F_SETFD, FD_CLOEXEC) < 0) {
            (void)descriptor.release();  // none is there
        } else {
            all[unescaped(rest.substr(0, colon))].push_back(std::move(descriptor));
        }
        rest.remove_prefix(std::min(colon + 1, rest.size()));
    }
    return all;
}

// A manager that does not read is its own trouble: nobody here waits for it.
void ServiceManager::send(std::string_view message, std::span<const Fd> descriptors) const {
    if (!socket_) return;
    iovec text{const_cast<char*>(message.data()), message.size()};
    msghdr packet{};
    packet.msg_name = const_cast<char*>(address_.data());
    packet.msg_namelen = static_cast<socklen_t>(address_.size());
    packet.msg_iov = &text;
    packet.msg_iovlen = 1;
    std::vector<int> numbers;
    for (const auto& descriptor : descriptors) numbers.push_back(descriptor.get());
    std::vector<char> control(numbers.empty() ? 0 : CMSG_SPACE(numbers.size() * sizeof(int)));
    if (!numbers.empty()) {
        packet.msg_control = control.data();
        packet.msg_controllen = control.size();
        auto* header = CMSG_FIRSTHDR(&packet);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(numbers.size() * sizeof(int));
        std::memcpy(CMSG_DATA(header), numbers.data(), numbers.size() * sizeof(int));
    }
    (void)!::sendmsg(socket_.get(), &packet, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace ghostip

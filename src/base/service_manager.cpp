#include "base/service_manager.h"

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

void ServiceManager::stopping() const { send("STOPPING=1"); }

void ServiceManager::ping() const { send("WATCHDOG=1"); }

void ServiceManager::extend_start(std::chrono::microseconds by) const {
    send(fmt::format("EXTEND_TIMEOUT_USEC={}", by.count()));
}

// A manager that does not read is its own trouble: nobody here waits for it.
void ServiceManager::send(std::string_view message) const {
    if (!socket_) return;
    (void)!::sendto(socket_.get(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                    reinterpret_cast<const sockaddr*>(address_.data()), static_cast<socklen_t>(address_.size()));
}

}  // namespace ghostip

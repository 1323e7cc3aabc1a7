// What a service manager (systemd) that started this process wants to hear: sd_notify(3), as one datagram a message.
// Without one around, every call does nothing. Any thread.
//
// Not libsystemd: it is one send to a socket, and the library brings compression, a D-Bus client and a hash table
// along.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace ghostip {

class ServiceManager {
  public:
    // Nobody listens.
    ServiceManager() = default;
    // From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. An address that is none counts as nobody.
    [[nodiscard]] static ServiceManager from_environment();
    // `variable` gives a variable's value, null where it is not set.
    [[nodiscard]] static ServiceManager from(const std::function<const char*(const char*)>& variable);

    [[nodiscard]] bool listens() const { return static_cast<bool>(socket_); }
    // How long it waits for a ping before it kills; absent: it does not.
    [[nodiscard]] std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }

    void ready(std::string_view status) const;
    void status(std::string_view text) const;
    // The end takes so long, and some seconds more, from now on; 0: no longer than the unit allows. (systemd 236)
    void stopping(std::chrono::microseconds longest = {}) const;
    void ping() const;
    // Before ready(): the start takes at least so much longer from now on. (systemd 236)
    void extend_start(std::chrono::microseconds by) const;

    // Keeps them for the next start of this service, as far as the unit has room (systemd 219,
    // FileDescriptorStoreMax=): listening sockets, at which clients wait meanwhile. At most 253 a call. `name`: any
    // text of up to 80 bytes, more if it has few odd characters.
    void keep(std::string_view name, std::span<const Fd> descriptors) const;
    // Keeps those of that name no longer. (systemd 236)
    void forget(std::string_view name) const;
    // What was kept for this process, by name. Once, at the start, before descriptors are opened by others.
    using Kept = std::map<std::string, std::vector<Fd>>;
    [[nodiscard]] static Kept kept();
    [[nodiscard]] static Kept kept(const std::function<const char*(const char*)>& variable, int first);

  private:
    void send(std::string_view message, std::span<const Fd> descriptors = {}) const;

    Fd socket_;            // constant after construction
    std::string address_;  // constant after construction: a whole sockaddr_un, as it goes to the kernel
    std::optional<std::chrono::microseconds> watchdog_;
};

}  // namespace ghostip

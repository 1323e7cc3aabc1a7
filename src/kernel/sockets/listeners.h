// Who takes what is sent to an address and port: listening sockets, and the processes that have them, as /proc tells.
// Of the network namespace of the calling thread. TCP and UDP; needs no privileges, but processes of other users show
// their sockets to root alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/protocol.h"

namespace ghostip::kernel::sockets {

struct Process {
    int id = 0;
    std::string name;

    friend bool operator==(const Process&, const Process&) = default;
};

// All sockets at one address.
struct Listener {
    net::IpAddress address;  // unspecified: any of the family
    std::uint16_t port = 0;
    std::vector<Process> processes;  // by id; those that may be looked at
    friend bool operator==(const Listener&, const Listener&) = default;
};

// Sockets of the address's own family only.
[[nodiscard]] Result<std::vector<Listener>> listeners_at(const net::IpAddress& address, net::Protocol protocol,
                                                         std::uint16_t port);

// A line of /proc/net/tcp, tcp6, udp or udp6 whose socket takes what comes, from anybody.
struct Entry {
    net::IpAddress address;
    std::uint16_t port = 0;
    std::uint64_t inode = 0;

    friend bool operator==(const Entry&, const Entry&) = default;
};
[[nodiscard]] std::vector<Entry> listening_in(std::string_view text, net::Family family, net::Protocol protocol);

}  // namespace ghostip::kernel::sockets

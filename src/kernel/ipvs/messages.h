// Commands as generic netlink messages, and answers as values. Bytes only; no kernel. What cannot be read as what it
// should be is no value.
#pragma once

#include <cstdint>
#include <optional>

#include "kernel/ipvs/ipvs.h"
#include "kernel/netlink/batch.h"

namespace ghostip::kernel::ipvs {

// All of these write a whole message without its flags; `family`: the number that the kernel has given to IPVS.
nlmsghdr* put_command(netlink::Request& request, std::uint16_t family, const Command& command);
nlmsghdr* put_list_services(netlink::Request& request, std::uint16_t family);
nlmsghdr* put_get_service(netlink::Request& request, std::uint16_t family, const ServiceKey& service);
nlmsghdr* put_list_destinations(netlink::Request& request, std::uint16_t family, const ServiceKey& service);
nlmsghdr* put_get_info(netlink::Request& request, std::uint16_t family);
nlmsghdr* put_get_timeouts(netlink::Request& request, std::uint16_t family);
nlmsghdr* put_set_timeouts(netlink::Request& request, std::uint16_t family, const Timeouts& timeouts);
// IPVS_CMD_FLUSH: all services of the namespace. Not part of the interface; see removal.h.
nlmsghdr* put_flush(netlink::Request& request, std::uint16_t family);
// Which number IPVS has.
nlmsghdr* put_find_family(netlink::Request& request);

[[nodiscard]] std::optional<Service> read_service(const nlmsghdr* message);
// `family`: of the service, for kernels that do not tell that of the destination (before 3.18).
[[nodiscard]] std::optional<Destination> read_destination(const nlmsghdr* message, net::Family family);
[[nodiscard]] std::optional<Info> read_info(const nlmsghdr* message);
[[nodiscard]] std::optional<Timeouts> read_timeouts(const nlmsghdr* message);
[[nodiscard]] std::optional<std::uint16_t> read_family(const nlmsghdr* message);

}  // namespace ghostip::kernel::ipvs

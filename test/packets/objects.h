// Objects for tests that are written in C++: only what differs from the default is said.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/objects.h"
#include "net/address.h"

namespace ghostip::packets {

[[nodiscard]] std::shared_ptr<api::Service> make_service(const std::string& name, const net::IpAddress& cluster_ip,
                                                         std::vector<api::ServicePort> ports);
// With the same port names as the service, all on `target_port`.
[[nodiscard]] std::shared_ptr<api::EndpointSlice> make_slice(const api::Service& service, std::uint16_t target_port);
void add_endpoint(api::EndpointSlice& slice, const net::IpAddress& address, bool local);
// One port of each protocol, with node ports if asked for.
[[nodiscard]] std::vector<api::ServicePort> ports_of_all_protocols(std::uint16_t port, std::uint16_t node_port = 0);

}  // namespace ghostip::packets

// The next hops of this network namespace's routes, of all routing tables.
#pragma once

#include <linux/netlink.h>

#include <optional>
#include <vector>

#include "base/result.h"
#include "net/address.h"

namespace ghostip::kernel::route {

// Both families, sorted, each once. Link-local ones too.
[[nodiscard]] Result<std::vector<net::IpAddress>> gateways();

// What a notification or a line of a dump says of a route. Nothing if the message is about something else.
struct RouteNews {
    bool removed = false;
    bool is_default = false;               // to everywhere
    std::vector<net::IpAddress> gateways;  // none: on the link itself
};
[[nodiscard]] std::optional<RouteNews> route_news(const nlmsghdr* message);

}  // namespace ghostip::kernel::route

// The addresses of this network namespace's interfaces, and a way to learn that they or the gateways changed.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "net/address.h"

namespace ghostip::kernel::route {

// All families, loopback included, in the kernel's order.
[[nodiscard]] Result<std::vector<net::IpAddress>> interface_addresses();

// Tells of changes through the kernel's own notifications (rtnetlink), without polling.
//
// Every pod that comes or goes is a route that changes. Only those that can change the list of gateways are told: one
// by way of a gateway that this object has not seen yet, and a default route that goes. (A gateway that only other
// routes had stays in the list until the next change is told.)
class AddressWatch {
  public:
    [[nodiscard]] static Result<AddressWatch> open();
    // Waits for a change, or until `stop_fd` becomes readable. True: addresses or gateways changed (several changes may
    // be one answer); false: stop.
    [[nodiscard]] bool wait(int stop_fd);

  private:
    explicit AddressWatch(Fd socket) : socket_(std::move(socket)) {}
    [[nodiscard]] bool read_news();

    Fd socket_;
    std::set<net::IpAddress> gateways_;  // seen so far
};

}  // namespace ghostip::kernel::route

// The addresses of this network namespace's interfaces, and a way to learn that they or the gateways changed.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "net/address.h"

namespace ghostip::kernel::route {

// All families, loopback included, in the kernel's order; not those of device `but`.
[[nodiscard]] Result<std::vector<net::IpAddress>> interface_addresses(std::string_view but = {});

// Tells of changes through the kernel's own notifications (rtnetlink), without polling.
//
// Every pod that comes or goes is a route that changes. Only those that can change the list of gateways are told: one
// by way of a gateway that this object has not seen yet, and a default route that goes. (A gateway that only other
// routes had stays in the list until the next change is told.)
class AddressWatch {
  public:
    // Addresses of device `but` are nothing new, as long as it exists: who puts many there knows of them.
    [[nodiscard]] static Result<AddressWatch> open(std::string but = {});
    // Waits for a change, or until `stop_fd` becomes readable. True: addresses or gateways changed (several changes may
    // be one answer); false: stop.
    [[nodiscard]] bool wait(int stop_fd);

  private:
    AddressWatch(Fd socket, std::string but) : socket_(std::move(socket)), but_(std::move(but)) {}
    [[nodiscard]] bool read_news();

    Fd socket_;
    std::string but_;
    std::set<net::IpAddress> gateways_;  // seen so far
};

}  // namespace ghostip::kernel::route

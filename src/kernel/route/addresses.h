// The addresses of this network namespace's interfaces, and a way to learn that they changed.
#pragma once

#include <memory>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "net/address.h"

namespace ghostip::kernel::route {

// All families, loopback included, in the kernel's order.
[[nodiscard]] Result<std::vector<net::IpAddress>> interface_addresses();

// Tells of changes through the kernel's own notifications (rtnetlink), without polling.
class AddressWatch {
  public:
    [[nodiscard]] static Result<AddressWatch> open();
    // Waits for a change, or until `stop_fd` becomes readable. True: addresses changed (several changes may be one
    // answer); false: stop.
    [[nodiscard]] bool wait(int stop_fd);

  private:
    explicit AddressWatch(Fd socket) : socket_(std::move(socket)) {}
    Fd socket_;
};

}  // namespace ghostip::kernel::route

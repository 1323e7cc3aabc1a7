// The kernel of this machine: IPVS by generic netlink, in the network namespace that the calling thread is in when
// open() is called. Blocking; owned by one thread at a time.
#pragma once

#include <memory>

#include "kernel/ipvs/ipvs.h"
#include "kernel/netlink/socket.h"

namespace ghostip::kernel::ipvs {

class LinuxIpvs final : public Ipvs {
  public:
    // Makes the kernel load the module if it can (since 5.10 by itself; before, somebody has to). ENOENT: no IPVS.
    [[nodiscard]] static Result<std::unique_ptr<LinuxIpvs>> open();

    [[nodiscard]] Result<Info> info() override;
    [[nodiscard]] Result<std::vector<Service>> services() override;
    [[nodiscard]] Result<bool> contains(const ServiceKey& service) override;
    [[nodiscard]] Result<std::vector<Destination>> destinations(const ServiceKey& service) override;
    [[nodiscard]] Result<std::vector<Refusal>> apply(std::span<const Command> commands) override;
    [[nodiscard]] Result<Timeouts> timeouts() override;
    [[nodiscard]] Result<void> set_timeouts(const Timeouts& timeouts) override;
    // Everything in the namespace, whoever made it. For removal.h alone.
    [[nodiscard]] Result<void> flush();

  private:
    LinuxIpvs(netlink::Socket socket, std::uint16_t family) : socket_(std::move(socket)), family_(family) {}

    netlink::Socket socket_;
    std::uint16_t family_;  // the number of IPVS among generic netlink's families
};

}  // namespace ghostip::kernel::ipvs

// The kernel of this machine: devices and addresses by rtnetlink, in the network namespace that the calling thread is
// in when open() is called. Blocking; owned by one thread at a time.
#pragma once

#include <memory>

#include "kernel/link/link.h"
#include "kernel/netlink/socket.h"

namespace ghostip::kernel::link {

class LinuxLinks final : public Links {
  public:
    [[nodiscard]] static Result<std::unique_ptr<LinuxLinks>> open();

    [[nodiscard]] Result<std::optional<Device>> find(const std::string& name) override;
    [[nodiscard]] Result<void> create_dummy(const std::string& name) override;
    [[nodiscard]] Result<bool> delete_dummy(const std::string& name) override;
    [[nodiscard]] Result<std::vector<DeviceAddress>> addresses() override;
    [[nodiscard]] Result<std::vector<Refusal>> add_addresses(const std::string& dummy,
                                                             std::span<const net::IpAddress> addresses) override;
    [[nodiscard]] Result<std::vector<Refusal>> remove_addresses(const std::string& dummy,
                                                                std::span<const net::IpAddress> addresses) override;

  private:
    struct Found {
        int index = 0;
        Device device;
    };
    enum class Verb : std::uint8_t { kAdd, kRemove };

    explicit LinuxLinks(netlink::Socket socket) : socket_(std::move(socket)) {}
    [[nodiscard]] Result<std::optional<Found>> look_up(const std::string& name);
    [[nodiscard]] Result<std::vector<DeviceAddress>> list_once();
    [[nodiscard]] Result<std::vector<Refusal>> change(Verb verb, const std::string& dummy,
                                                      std::span<const net::IpAddress> addresses);

    netlink::Socket socket_;
};

}  // namespace ghostip::kernel::link

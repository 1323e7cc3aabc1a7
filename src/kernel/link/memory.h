// The twin of linux.h in memory: the same interface, no kernel and no root.
//
// Owned by one thread.
#pragma once

#include <map>
#include <set>

#include "kernel/link/link.h"

namespace ghostip::kernel::link {

class MemoryLinks final : public Links {
  public:
    struct Counters {
        std::uint64_t calls = 0;
        std::uint64_t added = 0;    // addresses that were not there
        std::uint64_t removed = 0;  // that were
    };

    [[nodiscard]] Result<std::optional<Device>> find(const std::string& name) override;
    [[nodiscard]] Result<void> create_dummy(const std::string& name) override;
    [[nodiscard]] Result<bool> delete_dummy(const std::string& name) override;
    [[nodiscard]] Result<std::vector<DeviceAddress>> addresses() override;
    [[nodiscard]] Result<std::vector<Refusal>> add_addresses(const std::string& dummy,
                                                             std::span<const net::IpAddress> addresses) override;
    [[nodiscard]] Result<std::vector<Refusal>> remove_addresses(const std::string& dummy,
                                                                std::span<const net::IpAddress> addresses) override;

    // A device of any kind, and an address of any device that is there.
    void add_device(const Device& device) { devices_[device.name].device = device; }
    void add_address(const DeviceAddress& address) { devices_.at(address.device).addresses.push_back(address); }
    // A family that devices do not take (IPv6 where it is switched off): its addresses are refused with EACCES.
    void set_refused(std::optional<net::Family> family) { refused_ = family; }
    // One that devices do not take, and may later (EINVAL).
    void refuse_address(const net::IpAddress& address) { refused_addresses_.insert(address); }
    void accept_address(const net::IpAddress& address) { refused_addresses_.erase(address); }
    // The call-th call from now on (1: the next) fails with this errno value and does nothing.
    void fail_call(std::uint64_t call, int code) { failures_[counters_.calls + call] = code; }
    [[nodiscard]] Counters counters() const { return counters_; }

  private:
    struct State {
        Device device;
        std::vector<DeviceAddress> addresses;
    };
    [[nodiscard]] std::optional<Error> begin_call(const std::string& what);
    // The dummy, or why there is none to be changed.
    [[nodiscard]] Result<State*> find_dummy(const std::string& name, const std::string& what);

    std::map<std::string, State> devices_;
    std::optional<net::Family> refused_;
    std::set<net::IpAddress> refused_addresses_;
    Counters counters_;
    std::map<std::uint64_t, int> failures_;
};

}  // namespace ghostip::kernel::link

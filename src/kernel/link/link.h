// Devices of a network namespace that hold addresses for others: a dummy device is made, and gets and loses addresses,
// each of them whole (/32, /128). Nothing of another kind of device is ever changed.
//
// A dummy device need not be up: an address of a device that is down is local all the same. Owned by one thread.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"

namespace ghostip::kernel::link {

inline constexpr std::string_view kDummy = "dummy";

struct Device {
    std::string name;
    std::string kind;  // as the kernel's modules call it: "dummy", "veth"; empty: it tells none, as do real ones
    bool up = false;   // administratively

    friend auto operator<=>(const Device&, const Device&) = default;
};

struct DeviceAddress {
    std::string device;
    net::IpAddress address;
    int prefix_length = 0;  // bits

    friend auto operator<=>(const DeviceAddress&, const DeviceAddress&) = default;
};

struct Refusal {
    std::size_t address = 0;  // which, from 0
    Error error;              // names it
};

class Links {
  public:
    virtual ~Links() = default;

    // Absent: there is no such device.
    [[nodiscard]] virtual Result<std::optional<Device>> find(const std::string& name) = 0;
    // A dummy device, down, without addresses. EEXIST: there is a device of that name. EOPNOTSUPP: the kernel has no
    // such devices. EINVAL: no name for a device (at most 15 bytes).
    [[nodiscard]] virtual Result<void> create_dummy(const std::string& name) = 0;
    // With its addresses. False: it is not there. EINVAL: it is not a dummy, and left as it is.
    [[nodiscard]] virtual Result<bool> delete_dummy(const std::string& name) = 0;
    // Of all devices and both families, in the kernel's order.
    [[nodiscard]] virtual Result<std::vector<DeviceAddress>> addresses() = 0;
    // To and from a dummy. One that it has already, or has not, is no refusal. An error: there is no such device
    // (ENODEV), it is not a dummy (EINVAL), or it is not known what was done.
    [[nodiscard]] virtual Result<std::vector<Refusal>> add_addresses(const std::string& dummy,
                                                                     std::span<const net::IpAddress> addresses) = 0;
    [[nodiscard]] virtual Result<std::vector<Refusal>> remove_addresses(const std::string& dummy,
                                                                        std::span<const net::IpAddress> addresses) = 0;

    // Makes the device if it is missing. EINVAL: there is one of another kind.
    [[nodiscard]] Result<void> ensure_dummy(const std::string& name);
};

// Why `device` is not to be touched.
[[nodiscard]] Error not_a_dummy(const Device& device);

}  // namespace ghostip::kernel::link

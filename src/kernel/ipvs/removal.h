// What an IPVS user leaves in a network namespace, taken away piece by piece: virtual servers, the dummy device that
// held their addresses, sets. Ask available() and sets_available() first: what takes away would make the kernel load
// the modules. Blocking; any thread with CAP_NET_ADMIN.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/ipvs/ipvs.h"

namespace ghostip::kernel::ipvs {

// Whether this kernel has IPVS (or ip_set) at all, right now.
[[nodiscard]] bool available();
[[nodiscard]] bool sets_available();

struct Servers {
    std::uint32_t virtual_servers = 0;
    std::uint64_t connections = 0;  // that would be cut off without them
};
// UDP is never active for the kernel; of TCP and SCTP those count that are established.
[[nodiscard]] Result<Servers> count(Ipvs& ipvs, const std::vector<Service>& services);

// All virtual servers of the namespace.
[[nodiscard]] Result<void> flush_servers();

// False: there was none. Both leave what is not what they name: a device of another kind, a set that a rule uses
// (EBUSY).
[[nodiscard]] Result<bool> dummy_device_exists(const std::string& name);
[[nodiscard]] Result<bool> delete_dummy_device(const std::string& name);
[[nodiscard]] Result<bool> destroy_set(const std::string& name);

}  // namespace ghostip::kernel::ipvs

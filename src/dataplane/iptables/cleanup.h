// Removes every trace of the iptables mode.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace ghostip::kernel::iptables {
class Iptables;
}

namespace ghostip::dataplane::iptables {

// In both families and in both parts of the kernel; fine when there is nothing. Rules without the chain that says that
// they are ours are kube-proxy's, and stay. KUBE-FIREWALL, which is the kubelet's
// too, stays, and so do sysctls, and what rules of others lead into. Connections that were translated stay so:
// conntrack knows them. After an error the rest is removed all the same; the first one is returned.
[[nodiscard]] Result<void> cleanup(std::vector<std::string>& kept);
[[nodiscard]] Result<void> cleanup(kernel::iptables::Iptables& iptables, std::vector<std::string>& kept);

}  // namespace ghostip::dataplane::iptables

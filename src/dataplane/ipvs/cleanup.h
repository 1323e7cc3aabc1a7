// Removes every trace of this mode, of both families, and nothing of anybody else: virtual servers that no set names
// stay, and so does everything where what only we make (GHOSTIP-EXTERNAL-LOCAL, GHOSTIP-NODE-PORTS) is missing: it
// is kube-proxy's. Where kube-proxy has taken a node back, only what only we make goes. Sysctls stay as they are.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/ipset/ipset.h"
#include "kernel/iptables/iptables.h"
#include "kernel/ipvs/ipvs.h"
#include "kernel/link/link.h"

namespace ghostip::dataplane::ipvs {

// From the calling thread's network namespace. `kept`: chains that stay, and whose rule needs them.
[[nodiscard]] Result<void> cleanup(std::vector<std::string>& kept);

// The parts, in the order in which they go; the sets last, because they say what is ours and rules ask them.
[[nodiscard]] Result<void> clean_rules(kernel::iptables::Iptables& iptables, std::vector<std::string>& kept);
// Does kube-proxy serve in its ipvs mode, by these rules?
[[nodiscard]] Result<bool> is_kube_proxys(kernel::iptables::Iptables& iptables);
// Are the sets this program's, and so the device and the virtual servers that they name?
[[nodiscard]] Result<bool> are_ours(kernel::ipset::Sets& sets);
// Virtual servers that the sets name.
[[nodiscard]] Result<std::vector<kernel::ipvs::Service>> own_servers(kernel::ipvs::Ipvs& ipvs,
                                                                     kernel::ipset::Sets& sets,
                                                                     kernel::link::Links& links);
[[nodiscard]] Result<void> clean_servers(kernel::ipvs::Ipvs& ipvs, kernel::ipset::Sets& sets,
                                         kernel::link::Links& links);
enum class WhichSets : std::uint8_t { kAll, kOnlyOurs };  // ours: those that kube-proxy has not
using Pause = std::function<void(std::chrono::milliseconds)>;
[[nodiscard]] Result<void> clean_sets(kernel::ipset::Sets& sets, WhichSets which, const Pause& pause);

}  // namespace ghostip::dataplane::ipvs

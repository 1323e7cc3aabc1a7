// How large conntrack's table is and how long it remembers: KubeProxyConfiguration's `conntrack`, written at the start.
//
// What differs from kube-proxy: where the host does not let us (a container with a read-only /proc/sys), that is a
// warning which names the setting, and not the end of the process.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernel/sysctl/sysctl.h"

namespace ghostip::agent {

// The field of KubeProxyConfiguration is conntrack.<name>; 0 leaves the kernel's value alone.
struct ConntrackSettings {
    std::int64_t max_per_core = 32768;  // maxPerCore
    std::int64_t min = 131072;          // min
    std::chrono::nanoseconds tcp_established_timeout{std::chrono::hours(24)};
    std::chrono::nanoseconds tcp_close_wait_timeout{std::chrono::hours(1)};
    bool tcp_be_liberal = false;
    std::chrono::nanoseconds udp_timeout{0};
    std::chrono::nanoseconds udp_stream_timeout{0};
};

struct SysctlWrite {
    std::string path;
    std::int64_t value = 0;

    friend bool operator==(const SysctlWrite&, const SysctlWrite&) = default;
};

// maxPerCore for each processor, at least min; but never more than 1048576 because of the processors, even where min is
// larger. 0: leave it alone.
[[nodiscard]] std::int64_t conntrack_max(const ConntrackSettings& settings, unsigned processors);

// What to write, in this order, where the kernel has `current` (by path; what could not be read is missing and is
// written).
[[nodiscard]] std::vector<SysctlWrite> conntrack_writes(const ConntrackSettings& settings,
                                                        const std::map<std::string, std::int64_t>& current,
                                                        unsigned processors);

// Reads, writes what differs, and returns what the host did not let us.
[[nodiscard]] std::vector<Error> apply_conntrack_settings(const ConntrackSettings& settings,
                                                          kernel::sysctl::Sysctl& sysctl, unsigned processors);

// The same with the kernel's own settings, each refusal a warning in the log.
void apply_conntrack_settings(const ConntrackSettings& settings);

// Processors in a list as /sys/devices/system/cpu/online has it: "0-3,8". 0: it makes no sense.
[[nodiscard]] unsigned count_processors(std::string_view list);

}  // namespace ghostip::agent

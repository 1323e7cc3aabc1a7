// What the kernel has to do for the mode ipvs beside its rules: sysctls, and how long IPVS remembers connections.
// Written at the start, while there are privileges for it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "dataplane/dataplane.h"
#include "kernel/ipvs/ipvs.h"
#include "kernel/sysctl/sysctl.h"

namespace ghostip::agent {

struct IpvsSysctl {
    std::string path;
    std::int64_t value = 0;
    // What it is for, where packets go wrong without it; empty: it is only better so.
    std::string_view needed_for = {};

    friend bool operator==(const IpvsSysctl&, const IpvsSysctl&) = default;
};

struct KernelVersion {
    int major = 0;
    int minor = 0;

    friend auto operator<=>(const KernelVersion&, const KernelVersion&) = default;
};
// "6.1.0-25-amd64" is 6.1; absent parts are 0.
[[nodiscard]] KernelVersion parse_kernel_version(std::string_view release);

// In the order in which they are written.
[[nodiscard]] std::vector<IpvsSysctl> ipvs_sysctls(const dataplane::IpvsOptions& options, const KernelVersion& kernel);

// Writes what differs. Errors of what is only better so are in `survived`, and all else is done; the others end it.
[[nodiscard]] Result<void> apply_ipvs_settings(const dataplane::IpvsOptions& options, const KernelVersion& kernel,
                                               kernel::sysctl::Sysctl& sysctl, kernel::ipvs::Ipvs& ipvs,
                                               std::vector<Error>& survived);

// The same in this network namespace; what was survived is a warning in the log. Nothing where the kernel has no IPVS:
// that is said when the mode is opened.
[[nodiscard]] Result<void> apply_ipvs_settings(const dataplane::IpvsOptions& options);

}  // namespace ghostip::agent

// What the process gives up when it has started: capabilities that its mode does not need, and system calls that it
// never makes. docs/privileges.md has the table.
//
// Capabilities belong to threads, and a new thread has those of the one that starts it. So all of this is called once,
// by the only thread, after what needs privilege was done (sysctls, the OOM score, splitting off agent/leftovers.h) and
// before anything that starts threads. What comes later, low ports and netlink among it, works with what is kept.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ghostip::agent {

// Whether other programs are run: a credential plugin of the kubeconfig, of which nobody knows what it calls, or those
// of a mode that runs programs. They inherit the filter.
enum class Programs : std::uint8_t { kNone, kAllowed };

struct Privileges {
    std::span<const int> mode;        // capabilities that the mode needs
    bool mode_runs_programs = false;  // which need the same; then `programs` must be kAllowed
    bool low_ports = false;           // listens below 1024
    Programs programs = Programs::kNone;
    bool filter_calls = true;
};

// Capability numbers of linux/capability.h, ascending.
[[nodiscard]] std::vector<int> needed_capabilities(const Privileges& privileges);

// Whether the calling thread may use it now.
[[nodiscard]] bool has_capability(int capability);

// Keeps of `capabilities` what this process has, gives up the rest for good (also for programs that it starts), and
// sets no_new_privs. Programs that it starts get of what is kept `for_programs`, and nothing else: root's own rights
// are not given to them (secure bits).
[[nodiscard]] Result<void> keep_only(const std::vector<int>& capabilities, std::span<const int> for_programs = {});

// From now on calls that the agent never makes fail, in all threads: those that would change what this process may do
// or reach with EPERM, those that nobody thought of with ENOSYS, so that a newer libc falls back to older ones. The
// kernel's audit log has a line for each. Error ENOTSUP: this kernel has no such filters.
[[nodiscard]] Result<void> filter_calls(Programs programs);

// All of it. What cannot be had is logged and given up: a node that is served with too many privileges is better than
// one that is not.
void drop_privileges(const Privileges& privileges);

}  // namespace ghostip::agent

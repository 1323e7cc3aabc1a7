#include "agent/privileges.h"

#include <cap-ng.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>

#include <algorithm>
#include <array>

#include "base/log.h"

namespace ghostip::agent {
namespace {

// A program that root starts gets all that the bounding set has, unless this says otherwise.
constexpr unsigned long kSecureBits =
    SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED;

bool has(capng_type_t set, int capability) {
    return capng_have_capability(set, static_cast<unsigned>(capability)) != 0;
}

}  // namespace

std::vector<int> needed_capabilities(const Privileges& privileges) {
    std::vector<int> capabilities(privileges.mode.begin(), privileges.mode.end());
    if (privileges.low_ports) capabilities.push_back(CAP_NET_BIND_SERVICE);
    std::sort(capabilities.begin(), capabilities.end());
    return capabilities;
}

bool has_capability(int capability) { return capng_get_caps_process() == 0 && has(CAPNG_EFFECTIVE, capability); }

Result<void> keep_only(const std::vector<int>& capabilities, std::span<const int> for_programs) {
    if (capng_get_caps_process() != 0) return fail("read this process's capabilities");
    std::vector<int> kept;
    std::copy_if(capabilities.begin(), capabilities.end(), std::back_inserter(kept),
                 [](int one) { return has(CAPNG_PERMITTED, one); });
    // Only who has CAP_SETPCAP may lower the bounding set. Without it, no_new_privs sees to it that nothing is gained.
    const bool may_bound = has(CAPNG_EFFECTIVE, CAP_SETPCAP);
    if (may_bound && ::prctl(PR_SET_SECUREBITS, kSecureBits, 0, 0, 0) < 0) return fail_errno("set the secure bits");
    capng_clear(CAPNG_SELECT_BOTH);
    std::vector<int> ambient;
    for (const int one : kept) {
        unsigned sets = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET;
        if (std::find(for_programs.begin(), for_programs.end(), one) != for_programs.end()) {
            sets |= CAPNG_INHERITABLE;  // what is not cannot be ambient
            ambient.push_back(one);
        }
        if (capng_update(CAPNG_ADD, static_cast<capng_type_t>(sets), static_cast<unsigned>(one)) != 0)
            return fail("choose capability {}", one);
    }
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return fail_errno("clear the ambient capabilities");
    const int applied = capng_apply(may_bound ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS);
    if (applied != 0) return fail("give up capabilities: step {} of libcap-ng failed", -applied);
    for (const int one : ambient)
        if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, static_cast<unsigned long>(one), 0, 0) < 0)
            return fail_errno("pass capability {} on to programs", one);
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno("set no_new_privs");
    return {};
}

void drop_privileges(const Privileges& privileges) {
    const auto for_programs = privileges.mode_runs_programs ? privileges.mode : std::span<const int>();
    const auto kept = keep_only(needed_capabilities(privileges), for_programs);
    if (!kept) log::warning("{}; going on with the capabilities that it was started with", kept.error().message);
    if (!privileges.filter_calls) {
        log::info("system calls are not filtered, as asked");
        return;
    }
    const auto filtered = filter_calls(privileges.programs);
    if (!filtered) log::warning("{}; going on without a filter of system calls", filtered.error().message);
}

}  // namespace ghostip::agent

#include "agent/clean_up.h"

#include <string>
#include <vector>

#include "agent/kube_proxy_traces.h"
#include "agent/leftovers.h"
#include "agent/modes.h"
#include "base/log.h"

namespace ghostip::agent {

Result<void> clean_up_everything() {
    bool failed = false;
    for (const auto& mode : modes()) {
        std::vector<std::string> kept;  // remove_traces() looks through all, and says so too
        const auto done = mode.cleanup(kept);
        if (!done) log::error("clean up {} mode: {}", mode.name, done.error().message);
        failed = failed || !done;
    }
    const auto removed = remove_traces(*linux_trace_host(), {});
    log_removed(removed);
    if (failed || !removed.failed.empty()) return fail("encountered an error while tearing down rules");
    return {};
}

}  // namespace ghostip::agent

// From the flags of what carries traffic to what a mode is asked.
#pragma once

#include "base/result.h"
#include "cli/proxy_flags.h"
#include "dataplane/relay_options.h"

namespace ghostip::cli {

// An error names the flag and the value.
[[nodiscard]] Result<dataplane::RelayOptions> relay_options(const RelaySettings& settings);

}  // namespace ghostip::cli

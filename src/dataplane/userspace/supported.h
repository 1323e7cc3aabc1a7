// What this host lets the mode do. It always does something: without leave to program the kernel it is met at node
// ports and at listeners asked for by name.
#pragma once

#include <string>

#include "dataplane/dataplane.h"

namespace ghostip::dataplane::userspace {

// Why packets cannot be redirected to the relay; empty: they can.
[[nodiscard]] std::string why_not_redirected(const Mode& redirecting, net::Family family, const Options& options);

}  // namespace ghostip::dataplane::userspace

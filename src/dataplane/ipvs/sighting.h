// What IPVS and the sets hold for one packet, beside what the plan says of it.
#pragma once

#include "base/result.h"
#include "dataplane/dataplane.h"
#include "dataplane/ipvs/compare.h"
#include "plan/explain.h"

namespace ghostip::dataplane::ipvs {

[[nodiscard]] Result<Sighting> sight(const plan::Plan& plan, const plan::Journey& journey, const Options& options);
[[nodiscard]] Result<Sighting> sight(const Kernel& kernel, const plan::Plan& plan, const plan::Journey& journey,
                                     const IpvsOptions& options);

}  // namespace ghostip::dataplane::ipvs

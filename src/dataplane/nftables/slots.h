// Which endpoint of a pool stands in which slot. Slots are 0 to n-1 without a hole; when the pool changes, as few
// endpoints as possible move, since each move is an element deleted and one added for every destination of the pool.
#pragma once

#include <vector>

#include "plan/endpoints.h"

namespace ghostip::dataplane::nftables {

using Slots = std::vector<plan::Endpoint>;

// `before` holds the endpoints by slot. The result holds exactly the endpoints of `pool`.
[[nodiscard]] Slots assign_slots(const Slots& before, const plan::Pool& pool);

}  // namespace ghostip::dataplane::nftables

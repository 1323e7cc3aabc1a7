// What a relay carries, where there is one (ModeProfile::relays, NodeRules::relayed_localhost). All else is the
// kernel's to translate, or is refused.
#pragma once

#include "net/protocol.h"

namespace ghostip::plan {

[[nodiscard]] constexpr bool can_be_relayed(net::Protocol protocol) { return protocol != net::Protocol::kSctp; }

}  // namespace ghostip::plan

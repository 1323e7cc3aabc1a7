// The whole ruleset as text, for people: `ghostip render`. Needs no kernel and no root.
#pragma once

#include <string>

#include "plan/plan.h"

namespace ghostip::dataplane::nftables {

// In nft's syntax, so that `nft -f` takes it.
[[nodiscard]] std::string render(const plan::Plan& plan);

}  // namespace ghostip::dataplane::nftables

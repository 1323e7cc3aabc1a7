// The whole ruleset as text, for people: `ghostip render`. Needs no kernel and no root.
#pragma once

#include <string>

#include "dataplane/nftables/structure.h"
#include "plan/plan.h"

namespace ghostip::dataplane::nftables {

// In nft's syntax, so that `nft -f` takes it.
[[nodiscard]] std::string render(const plan::Plan& plan);
[[nodiscard]] std::string render(const plan::Plan& plan, Counting counting);

}  // namespace ghostip::dataplane::nftables

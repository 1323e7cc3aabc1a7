// The whole desired state of one family as a text for iptables-restore, for people to read.
#pragma once

#include <string>

#include "plan/plan.h"

namespace ghostip::dataplane::iptables {

// As written on a host that can do everything.
[[nodiscard]] std::string render(const plan::Plan& plan);

}  // namespace ghostip::dataplane::iptables

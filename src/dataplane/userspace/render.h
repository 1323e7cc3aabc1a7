// What would be programmed, for people: `ghostip render`.
#pragma once

#include <functional>
#include <string>

#include "plan/plan.h"

namespace ghostip::dataplane::userspace {

// `rules` writes the rules of a plan. Ports of listeners are chosen by the kernel when the program runs; here they are
// numbered from 1 on, and named in comments.
[[nodiscard]] std::string render(const plan::Plan& plan, const std::function<std::string(const plan::Plan&)>& rules);

}  // namespace ghostip::dataplane::userspace

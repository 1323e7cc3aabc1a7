// Listeners end with their process; what stays are the rules that lead to them, which the redirecting mode removes.
#pragma once

#include "dataplane/dataplane.h"

namespace ghostip::dataplane::userspace {

[[nodiscard]] Result<void> cleanup(const Mode& redirecting, std::vector<std::string>& kept);

}  // namespace ghostip::dataplane::userspace

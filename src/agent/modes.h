// The table of modes. A new mode is one folder under dataplane/ and one row here.
#pragma once

#include <span>
#include <string_view>

#include "dataplane/dataplane.h"

namespace ghostip::agent {

[[nodiscard]] std::span<const dataplane::Mode> modes();
// Null if there is none of that name.
[[nodiscard]] const dataplane::Mode* find_mode(std::string_view name);

}  // namespace ghostip::agent

// Removes every trace of ghostip's modes and of kube-proxy's own: what `--cleanup` asks for.
#pragma once

#include "base/result.h"

namespace ghostip::agent {

// Logs what was removed, what stays and why, and each failure; an error if there was one. Twice is fine.
[[nodiscard]] Result<void> clean_up_everything();

}  // namespace ghostip::agent

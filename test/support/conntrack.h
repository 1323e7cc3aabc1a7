// The connections that a namespace remembers.
#pragma once

#include "base/result.h"
#include "support/namespace.h"

namespace ghostip::testnet {

// Forgets all of them, so that no decision of an earlier world reaches a later one.
[[nodiscard]] Result<void> flush_conntrack(const Namespace& where);

}  // namespace ghostip::testnet

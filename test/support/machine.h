// What the machine that tests run on can do.
#pragma once

#include "base/result.h"
#include "support/namespace.h"

namespace ghostip::testnet {

// User-mode Linux (test/uml) has none; every other machine has to.
[[nodiscard]] bool has_nf_tables();

// Waits until the kernel delivers packets to all addresses of kube-ipvs0 to itself: IPv6 takes a moment, and until then
// they leave the node. Nothing where there is no such device.
[[nodiscard]] Result<void> await_service_addresses(const Namespace& node);

}  // namespace ghostip::testnet

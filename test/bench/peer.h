// kube-proxy's layout through `nft -f`: what the kernel and nft need for it, without kube-proxy's own work.
#pragma once

#include <filesystem>
#include <optional>

#include "bench/world.h"

namespace ghostip::bench {

inline constexpr int kPeerLimitSeconds = 120;

// The kernel checks all chains of such a transaction against each other without a pause: 10,000 chains took 10 s,
// 50,000 kept a processor in there for more than eight minutes (Linux 6.18), during which no signal ends nft and other
// programs' netlink calls hang. So more are not tried; a limit of time alone does not protect the machine.
[[nodiscard]] constexpr bool peer_can(Size size) { return size.services <= 10000; }

struct PeerFigures {
    double seconds = 0;              // everything, into an empty namespace
    double change_milliseconds = 0;  // one endpoint of one Service replaced, median
};

// Absent: it did not end within the limit.
[[nodiscard]] std::optional<PeerFigures> measure_peer(const std::filesystem::path& folder, Size size);

}  // namespace ghostip::bench

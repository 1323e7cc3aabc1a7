// kube-proxy's layout through `nft -f`: what the kernel and nft need for it, without kube-proxy's own work.
#pragma once

#include <filesystem>
#include <optional>

#include "bench/world.h"

namespace ghostip::bench {

inline constexpr int kPeerLimitSeconds = 120;

// Each anonymous map of a transaction is searched among all that the transaction has done so far (Linux 6.18,
// nft_set_lookup_byid), so the time is that of the square: 10,000 chains took 10 s. 50,000 kept a processor in the
// kernel without a pause until they were given up after 500 s, and who waited for it or for RCU hung. So more are not
// tried.
[[nodiscard]] constexpr bool peer_can(Size size) { return size.services <= 10000; }

struct PeerFigures {
    double seconds = 0;              // everything, into an empty namespace
    double change_milliseconds = 0;  // one endpoint of one Service replaced, median
};

// Absent: it did not end within the limit.
[[nodiscard]] std::optional<PeerFigures> measure_peer(const std::filesystem::path& folder, Size size);

}  // namespace ghostip::bench

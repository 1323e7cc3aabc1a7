// The base chains that stand in this network namespace, whoever made them: where they hook in, and what they do with
// packets that none of their rules decided. Headers only: nobody's rules or elements are read. iptables-nft makes such
// chains too; those of iptables-legacy are not in nf_tables and not seen here. Blocking; any thread.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernel/nft/model.h"

namespace ghostip::kernel::nft {

enum class TableFamily : std::uint8_t { kIp, kIp6, kInet };
// "ip", "ip6", "inet", as nft writes them.
[[nodiscard]] std::string_view table_family_name(TableFamily family);

enum class Policy : std::uint8_t { kAccept, kDrop };

struct OtherChain {
    TableFamily family = TableFamily::kIp;
    std::string table;
    std::string name;
    Hook hook = Hook::kForward;
    std::int32_t priority = 0;
    Policy policy = Policy::kAccept;

    friend bool operator==(const OtherChain&, const OtherChain&) = default;
};

// A chain as NFT_MSG_GETCHAIN answers it; absent if it is no base chain, or of a family that routes no IP packets
// (bridge, arp, netdev).
[[nodiscard]] std::optional<OtherChain> parse_base_chain(const nlmsghdr* message);

// All of the namespace that the calling thread is in. One message a chain crosses the socket, also for chains that are
// not base chains: a host with tens of thousands takes some ten milliseconds.
[[nodiscard]] Result<std::vector<OtherChain>> base_chains();

// A chain of any kind, of any table.
struct ChainName {
    TableFamily family = TableFamily::kIp;
    std::string table;
    std::string name;

    friend bool operator==(const ChainName&, const ChainName&) = default;
};
[[nodiscard]] std::optional<ChainName> parse_chain_name(const nlmsghdr* message);
// All of the namespace, likewise.
[[nodiscard]] Result<std::vector<ChainName>> chain_names();

}  // namespace ghostip::kernel::nft

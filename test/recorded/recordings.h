// Rules that the real kube-proxy left in the kernel (README.md beside this), with the objects and flags that made them,
// and ways to put them back: into iptables of either variant or its twin, or through nft into a namespace.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernel/iptables/iptables.h"
#include "kernel/nfacct/nfacct.h"
#include "net/address.h"
#include "support/namespace.h"

namespace ghostip::recorded {

// Tables of iptables that kube-proxy writes to.
inline constexpr std::array<std::string_view, 3> kTables{"mangle", "filter", "nat"};

struct Recording {
    std::string name;     // "few-legacy"
    std::string objects;  // file of manifests: "few.yaml"
    // Flags of the proxy that made it, also those that all have.
    std::vector<std::string> flags;
    std::vector<net::Family> families;  // of iptables mode
    bool nftables = false;              // is there one of nftables mode?
};
[[nodiscard]] const std::vector<Recording>& recordings();
// Aborts if there is none of that name.
[[nodiscard]] const Recording& recording(std::string_view name);

// Where its manifests are.
[[nodiscard]] std::string manifest_path(const Recording& recording);
// The text that iptables-save gave.
[[nodiscard]] Result<std::string> iptables_text(const Recording& recording, net::Family family);
[[nodiscard]] Result<std::string> nftables_text(const Recording& recording);

// The lines of one table in a text of iptables-save, in the form of Iptables::save().
[[nodiscard]] std::vector<std::string> lines_of_table(std::string_view text, std::string_view table);
// All that is in the three tables now, each table's lines behind "*TABLE".
[[nodiscard]] Result<std::vector<std::string>> saved_lines(kernel::iptables::Iptables& from);
// Sorts rules whose order means nothing and is free: dispatch by address (in kube-proxy that of a hash table), the last
// rules of KUBE-SERVICES in nat among themselves (that of the node's addresses), and who is let in by KUBE-FW chains
// (that of the Service's ranges). All other lines stay where they are.
[[nodiscard]] std::vector<std::string> without_free_order(std::vector<std::string> lines);

// Puts the rules of iptables mode there, of the family of `into`, and first the counters that they name.
[[nodiscard]] Result<void> load(const Recording& recording, kernel::iptables::Iptables& into,
                                kernel::nfacct::Nfacct& counters);
// Puts the rules of nftables mode there, of both families.
[[nodiscard]] Result<void> load_nftables(const Recording& recording, const testnet::Namespace& into);

// What kube-proxy's node has: its addresses on the loopback, of both families.
[[nodiscard]] Result<void> add_node_addresses(const testnet::Namespace& node);

}  // namespace ghostip::recorded

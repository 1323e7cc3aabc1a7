// What the renderers share: keys of packets, base chain priorities, and the test for an address that takes node ports.
#pragma once

#include <cstdint>

#include "dataplane/nftables/names.h"
#include "dataplane/nftables/structure.h"
#include "kernel/nft/rule_builder.h"

namespace ghostip::dataplane::nftables {

// Directly after kube-proxy's chains (dstnat -100, srcnat 100, filter 0): where both translate a destination,
// kube-proxy has already done so.
inline constexpr std::int32_t kDnatPriority = -99;
inline constexpr std::int32_t kFilterPriority = 1;
inline constexpr std::int32_t kLearnPriority = 99;  // before anybody rewrites the source
inline constexpr std::int32_t kSnatPriority = 101;
inline constexpr std::int32_t kCountPriority = 102;  // behind everybody who may drop a packet

// What was dialled, as a look-up key: address . protocol . port, or protocol . port.
[[nodiscard]] kernel::nft::Key dialled(Lane lane);
// The same for a connection that was translated already.
[[nodiscard]] kernel::nft::Key originally_dialled(Lane lane);

[[nodiscard]] inline std::string name_of(SetRole role, Lane lane = Lane::kAddress, std::uint32_t parameter = 0) {
    return set_name({role, lane, parameter});
}

[[nodiscard]] inline kernel::nft::RuleBuilder rule(const StructureInput& input) {
    return kernel::nft::RuleBuilder(input.family);
}

// What a relay sends is nobody's to translate or to refuse: in output, and in input where it sends to this node itself.
void pass_relay(const StructureInput& input, kernel::nft::Hook hook, std::vector<kernel::nft::Rule>& rules);

// The addresses of the loopback, which take no node ports.
[[nodiscard]] net::Prefix loopback(net::Family family);
// Adds the test: is the destination an address that accepts node ports?
kernel::nft::RuleBuilder& to_node_port_address(kernel::nft::RuleBuilder& builder, const StructureInput& input);
// Adds the test: does the local-traffic detector match (or not)? The detector must be available.
kernel::nft::RuleBuilder& from_pod(kernel::nft::RuleBuilder& builder, const plan::LocalDetector& detector,
                                   bool matches);

}  // namespace ghostip::dataplane::nftables

#include "dataplane/nftables/supported.h"

#include <cerrno>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "dataplane/nftables/names.h"
#include "kernel/nft/linux.h"
#include "kernel/nft/rule_builder.h"

namespace ghostip::dataplane::nftables {
namespace {

using kernel::nft::AddChain;
using kernel::nft::AddRule;
using kernel::nft::AddSet;
using kernel::nft::AddTable;
using kernel::nft::BaseChain;
using kernel::nft::Batch;
using kernel::nft::ChainType;
using kernel::nft::Field;
using kernel::nft::Hook;
using kernel::nft::Kernel;
using kernel::nft::Key;
using kernel::nft::LinuxKernel;
using kernel::nft::Rule;
using kernel::nft::RuleBuilder;
using kernel::nft::Set;
namespace select = kernel::nft::select;

constexpr std::string_view kProbeTable = "ghostip-probe";

// One thing that the ruleset relies on, alone in a table of its own.
struct Probe {
    std::string_view needs;  // what is missing if it fails
    std::function<Rule(RuleBuilder)> rule;
    ChainType type = ChainType::kFilter;
    Hook hook = Hook::kPrerouting;
};

const Key kDestination{select::kDestination, select::kProtocol, select::kDestinationPort};
const Key kOriginal{select::kOriginalDestination, select::kProtocol, select::kOriginalDestinationPort};

std::vector<Probe> probes() {
    return {
        {"concatenated set keys (nf_tables, CONFIG_NF_TABLES)",
         [](RuleBuilder b) { return std::move(b.in_set(kDestination, "up")).return_(); }},
        {"random numbers as part of a key (CONFIG_NFT_NUMGEN)",
         [](RuleBuilder b) {
             return std::move(b.in_set(kDestination + Key{select::random(2)}, "numbered")).return_();
         }},
        {"destination NAT to an address and port from a map (CONFIG_NFT_NAT, kernel 5.6)",
         [](RuleBuilder b) { return std::move(b).dnat_from(kDestination + Key{select::random(2)}, "endpoints"); },
         ChainType::kNat},
        {"source NAT to the outgoing address with random ports (CONFIG_NFT_MASQ)",
         [](RuleBuilder b) { return std::move(b).masquerade(); }, ChainType::kNat, Hook::kPostrouting},
        {"address types (CONFIG_NFT_FIB_IPV4, CONFIG_NFT_FIB_IPV6)",
         [](RuleBuilder b) { return std::move(b.source_is_local()).return_(); }},
        {"rejecting in forward (CONFIG_NFT_REJECT)", [](RuleBuilder b) { return std::move(b).reject(); },
         ChainType::kFilter, Hook::kForward},
        {"connection tracking state (CONFIG_NFT_CT)",
         [](RuleBuilder b) { return std::move(b.connection_is_new()).return_(); }},
        {"maps that rules write to, keyed by a connection's original destination (CONFIG_NFT_CT, kernel 4.17)",
         [](RuleBuilder b) {
             b.protocol(net::Protocol::kTcp).update_map(Key{select::kOriginalSource} + kOriginal, "stuck");
             return std::move(b).done();
         },
         ChainType::kNat, Hook::kPostrouting},
        {"NAT chains in input (kernel 4.18)", [](RuleBuilder b) { return std::move(b.connection_is_dnat()).return_(); },
         ChainType::kNat, Hook::kInput},
    };
}

std::vector<Set> probe_sets() {
    const std::vector<Field> destination{Field::kAddress, Field::kProtocol, Field::kPort};
    const std::vector<Field> endpoint{Field::kAddress, Field::kPort};
    Set up{.name = "up", .key = destination};
    Set numbered{.name = "numbered", .key = {Field::kAddress, Field::kProtocol, Field::kPort, Field::kNumber}};
    Set endpoints = numbered;
    endpoints.name = "endpoints";
    endpoints.data = endpoint;
    Set stuck{.name = "stuck",
              .key = {Field::kAddress, Field::kAddress, Field::kProtocol, Field::kPort},
              .data = endpoint,
              .timeout_seconds = 1,
              .size = 16};
    return {up, numbered, endpoints, stuck};
}

}  // namespace

namespace {

// A batch that holds what the given probes need, each in a chain of its own.
Batch batch_of(const std::vector<Probe>& chosen, net::Family family) {
    Batch batch{{family, std::string(kProbeTable), ""}, {AddTable{}}};
    for (auto& set : probe_sets()) batch.operations.emplace_back(AddSet{std::move(set)});
    int number = 0;
    for (const auto& probe : chosen) {
        const std::string chain = fmt::format("probe-{}", ++number);
        batch.operations.emplace_back(AddChain{chain, BaseChain{probe.type, probe.hook, 0}});
        batch.operations.emplace_back(AddRule{chain, probe.rule(RuleBuilder(family))});
    }
    return batch;
}

}  // namespace

std::vector<std::string> missing(Kernel& kernel, net::Family family) {
    const auto all = probes();
    // Undoing a batch takes the kernel some milliseconds, so ask for everything at once; one by one only to tell what
    // is missing.
    const auto together = kernel.check(batch_of(all, family));
    if (together) return {};
    if (together.error().code == EPERM) return {"no permission to program nf_tables; it takes root, or CAP_NET_ADMIN"};
    std::vector<std::string> lacks;
    for (const auto& probe : all) {
        const auto result = kernel.check(batch_of({probe}, family));
        if (!result)
            lacks.push_back(fmt::format("{}: this kernel cannot do {}: {}", net::family_name(family), probe.needs,
                                        result.error().message));
    }
    if (lacks.empty())
        lacks.push_back(fmt::format("{}: this kernel refuses everything together that it takes one by one",
                                    net::family_name(family)));
    return lacks;
}

bool can_count(Kernel& kernel, net::Family family) {
    const SetRef set{SetRole::kCounted};
    const auto size = static_cast<std::uint16_t>(destination_bytes(set.lane, family));
    kernel::nft::Elements one{set_name(set), size, 0, std::vector<std::uint8_t>(size)};
    return kernel
        .check({{family, std::string(kProbeTable), ""},
                {AddTable{}, AddSet{declare(set)}, kernel::nft::AddElements{std::move(one)}}})
        .has_value();
}

std::vector<std::string> missing(net::Family family) {
    auto kernel = LinuxKernel::open();
    if (!kernel) return {kernel.error().message};
    return missing(**kernel, family);
}

}  // namespace ghostip::dataplane::nftables

#include "dataplane/iptables/names.h"

#include <openssl/sha.h>

#include <algorithm>

#include "net/protocol.h"

namespace ghostip::dataplane::iptables {
namespace {

struct TableChain {
    std::string_view table;
    std::string_view chain;
};
constexpr std::array<TableChain, 13> kFixedChains{{
    {tables::kNat, chains::kServices},
    {tables::kNat, chains::kNodePorts},
    {tables::kNat, chains::kPostrouting},
    {tables::kNat, chains::kMarkMasq},
    {tables::kNat, chains::kCanary},
    {tables::kFilter, chains::kServices},
    {tables::kFilter, chains::kExternalServices},
    {tables::kFilter, chains::kForward},
    {tables::kFilter, chains::kNodePorts},
    {tables::kFilter, chains::kProxyFirewall},
    {tables::kFilter, chains::kCanary},
    {tables::kMangle, chains::kCanary},
    {tables::kMangle, chains::kOwn},
}};

std::string hash_input(const plan::ServicePortName& name) {
    std::string text = name.text();
    text += net::protocol_lower_name(name.protocol);
    return text;
}

}  // namespace

std::string short_hash(std::string_view text) {
    constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    constexpr std::size_t kCharacters = 16;
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
    SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
    std::string result;
    std::uint32_t bits = 0;
    unsigned count = 0;
    for (auto byte = digest.begin(); result.size() < kCharacters; ++byte) {
        bits = bits << 8U | *byte;
        for (count += 8; count >= 5 && result.size() < kCharacters; count -= 5)
            result += kAlphabet[bits >> (count - 5) & 0x1fU];
    }
    return result;
}

std::string hash_of(const plan::ServicePortName& name) { return short_hash(hash_input(name)); }

std::string chain_name(ChainKind kind, std::string_view hash) {
    std::string name(kChainPrefixes[static_cast<std::size_t>(kind)]);
    name += hash;
    return name;
}

std::string endpoint_chain(const plan::ServicePortName& name, const plan::Endpoint& endpoint) {
    return chain_name(ChainKind::kEndpoint,
                      short_hash(hash_input(name) + net::host_port(endpoint.address, endpoint.port)));
}

bool is_service_chain(std::string_view chain) {
    return std::any_of(kChainPrefixes.begin(), kChainPrefixes.end(), [&](std::string_view prefix) {
        return chain.starts_with(prefix) && chain.size() > prefix.size();
    });
}

bool is_own_chain(std::string_view table, std::string_view chain) {
    const bool fixed = std::any_of(kFixedChains.begin(), kFixedChains.end(),
                                   [&](const auto& one) { return one.table == table && one.chain == chain; });
    return fixed || (table == tables::kNat && is_service_chain(chain));
}

}  // namespace ghostip::dataplane::iptables

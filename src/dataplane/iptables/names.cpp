#include "dataplane/iptables/names.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>

#include "kernel/iptables/text.h"
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

constexpr std::size_t kHashCharacters = 16;
using Sha256 = std::array<unsigned char, 32>;

// A large node has a hundred thousand names. To look the algorithm up for each takes longer than to compute it.
Sha256 sha256(std::string_view text) {
    static const EVP_MD* const fetched = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                                       EVP_MD_CTX_free);
    Sha256 digest{};
    EVP_DigestInit_ex2(context.get(), fetched != nullptr ? fetched : EVP_sha256(), nullptr);
    EVP_DigestUpdate(context.get(), text.data(), text.size());
    EVP_DigestFinal_ex(context.get(), digest.data(), nullptr);
    return digest;
}

void append_short_hash(std::string& out, std::string_view text) {
    constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const Sha256 digest = sha256(text);
    std::uint32_t bits = 0;
    unsigned count = 0;
    auto byte = digest.begin();
    for (std::size_t i = 0; i < kHashCharacters; ++i) {
        for (; count < 5; count += 8) bits = bits << 8U | *byte++;
        count -= 5;
        out += kAlphabet[bits >> count & 0x1fU];
    }
}

}  // namespace

std::string short_hash(std::string_view text) {
    std::string result;
    append_short_hash(result, text);
    return result;
}

std::string hash_of(const plan::ServicePortName& name) { return short_hash(hash_input(name)); }

std::string chain_name(ChainKind kind, std::string_view hash) {
    std::string name(kChainPrefixes[static_cast<std::size_t>(kind)]);
    name += hash;
    return name;
}

std::vector<std::string> endpoint_chains(const plan::ServicePortName& name, const plan::Pool& pool) {
    constexpr std::string_view kPrefix = kChainPrefixes[static_cast<std::size_t>(ChainKind::kEndpoint)];
    std::vector<std::string> names;
    names.reserve(pool.size());
    std::string text = hash_input(name);
    const auto own = text.size();
    for (const auto& endpoint : pool) {
        text.resize(own);
        kernel::iptables::append_host_port(text, endpoint.address, endpoint.port);
        auto& chain = names.emplace_back();
        chain.reserve(kPrefix.size() + kHashCharacters);
        chain += kPrefix;
        append_short_hash(chain, text);
    }
    return names;
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

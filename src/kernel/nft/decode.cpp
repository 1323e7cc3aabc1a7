#include "kernel/nft/decode.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <cstring>

#include "kernel/netlink/attributes.h"
#include "kernel/nft/decode_expression.h"
#include "kernel/nft/encode.h"

namespace ghostip::kernel::nft {
namespace {

std::string text_of(const nlattr* attribute) {
    const auto* begin = static_cast<const char*>(mnl_attr_get_payload(attribute));
    return {begin, ::strnlen(begin, mnl_attr_get_payload_len(attribute))};
}

std::uint32_t number_of(const nlattr* attribute) {
    if (mnl_attr_get_payload_len(attribute) != sizeof(std::uint32_t)) return 0;
    return ntohl(mnl_attr_get_u32(attribute));
}

// The comment in user data of type, length, value; nft keeps it under the given type.
std::string comment_of(const nlattr* attribute, std::uint8_t comment_type) {
    const auto* at = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
    const auto* end = at + mnl_attr_get_payload_len(attribute);
    while (end - at >= 2 && end - at >= 2 + at[1]) {
        if (at[0] == comment_type) {
            const auto* text = reinterpret_cast<const char*>(at + 2);
            return {text, ::strnlen(text, at[1])};
        }
        at += 2 + at[1];
    }
    return {};
}

std::optional<Hook> hook_of(std::uint32_t number) {
    switch (number) {
        case NF_INET_PRE_ROUTING: return Hook::kPrerouting;
        case NF_INET_LOCAL_IN: return Hook::kInput;
        case NF_INET_FORWARD: return Hook::kForward;
        case NF_INET_LOCAL_OUT: return Hook::kOutput;
        case NF_INET_POST_ROUTING: return Hook::kPostrouting;
        default: return std::nullopt;
    }
}

// Types of fields, six bits each, the last one lowest; nothing if one of them is not ours.
std::vector<Field> fields_of(std::uint32_t type, net::Family family) {
    constexpr std::array kFields{Field::kAddress, Field::kProtocol, Field::kPort, Field::kNumber};
    std::vector<Field> fields;
    for (; type != 0; type >>= 6U) {
        const auto own = std::find_if(kFields.begin(), kFields.end(),
                                      [&](Field field) { return data_type({field}, family) == (type & 0x3fU); });
        if (own == kFields.end()) return {};
        fields.insert(fields.begin(), *own);
    }
    return fields;
}

void append_value(const nlattr* nest, std::vector<std::uint8_t>& out, std::size_t size) {
    const std::size_t at = out.size();
    out.resize(at + size);
    if (nest == nullptr) return;
    for (const nlattr* attribute : netlink::nested(nest))
        if (mnl_attr_get_type(attribute) == NFTA_DATA_VALUE)
            std::memcpy(out.data() + at, mnl_attr_get_payload(attribute),
                        std::min<std::size_t>(size, mnl_attr_get_payload_len(attribute)));
}

std::uint64_t wide_number_of(const nlattr* attribute) {
    if (mnl_attr_get_payload_len(attribute) != sizeof(std::uint64_t)) return 0;
    return be64toh(mnl_attr_get_u64(attribute));
}

// An expression of a set or of an element: { name, data }.
struct NamedData {
    std::string name;
    const nlattr* data = nullptr;
};

NamedData named_data_of(const nlattr* expression) {
    NamedData result;
    for (const nlattr* part : netlink::nested(expression)) {
        if (mnl_attr_get_type(part) == NFTA_EXPR_NAME) result.name = text_of(part);
        if (mnl_attr_get_type(part) == NFTA_EXPR_DATA) result.data = part;
    }
    return result;
}

}  // namespace

void decode_element(const nlattr* element, std::size_t key_bytes, std::size_t data_bytes,
                    std::vector<std::uint8_t>& out) {
    const nlattr* key = nullptr;
    const nlattr* data = nullptr;
    for (const nlattr* part : netlink::nested(element)) {
        if (mnl_attr_get_type(part) == NFTA_SET_ELEM_KEY) key = part;
        if (mnl_attr_get_type(part) == NFTA_SET_ELEM_DATA) data = part;
    }
    if (key == nullptr) return;
    append_value(key, out, key_bytes);
    if (data_bytes != 0) append_value(data, out, data_bytes);
}

Count decode_count(const nlattr* element) {
    Count count;
    for (const nlattr* part : netlink::nested(element)) {
        if (mnl_attr_get_type(part) != NFTA_SET_ELEM_EXPR) continue;
        const NamedData expression = named_data_of(part);
        if (expression.name != "counter" || expression.data == nullptr) continue;
        for (const nlattr* number : netlink::nested(expression.data)) {
            if (mnl_attr_get_type(number) == NFTA_COUNTER_PACKETS) count.packets = wide_number_of(number);
            if (mnl_attr_get_type(number) == NFTA_COUNTER_BYTES) count.bytes = wide_number_of(number);
        }
    }
    return count;
}

std::pair<std::string, Chain> decode_chain(const nlmsghdr* message) {
    std::string table;
    Chain chain;
    std::optional<Hook> hook;
    std::int32_t priority = 0;
    std::string type;
    bool accepts = true;
    for (const nlattr* attribute : netlink::attributes(message, sizeof(nfgenmsg))) {
        switch (mnl_attr_get_type(attribute)) {
            case NFTA_CHAIN_TABLE: table = text_of(attribute); break;
            case NFTA_CHAIN_NAME: chain.name = text_of(attribute); break;
            case NFTA_CHAIN_TYPE: type = text_of(attribute); break;
            case NFTA_CHAIN_POLICY: accepts = number_of(attribute) == NF_ACCEPT; break;
            case NFTA_CHAIN_HOOK:
                for (const nlattr* part : netlink::nested(attribute)) {
                    if (mnl_attr_get_type(part) == NFTA_HOOK_HOOKNUM) hook = hook_of(number_of(part));
                    if (mnl_attr_get_type(part) == NFTA_HOOK_PRIORITY)
                        priority = static_cast<std::int32_t>(number_of(part));
                }
                break;
            default: break;
        }
    }
    // With a policy or a type that this program never gives it is another chain; as a plain one it equals none of ours.
    if (hook && accepts && (type == "nat" || type == "filter"))
        chain.base = BaseChain{type == "nat" ? ChainType::kNat : ChainType::kFilter, *hook, priority};
    return {std::move(table), std::move(chain)};
}

std::pair<std::string, Rule> decode_rule(const nlmsghdr* message, net::Family family) {
    constexpr std::uint8_t kRuleComment = 0;
    std::string chain;
    Rule rule;
    for (const nlattr* attribute : netlink::attributes(message, sizeof(nfgenmsg))) {
        switch (mnl_attr_get_type(attribute)) {
            case NFTA_RULE_CHAIN: chain = text_of(attribute); break;
            case NFTA_RULE_USERDATA: rule.comment = comment_of(attribute, kRuleComment); break;
            case NFTA_RULE_EXPRESSIONS:
                for (const nlattr* expression : netlink::nested(attribute))
                    rule.expressions.push_back(decode_expression(expression, family));
                break;
            default: break;
        }
    }
    return {std::move(chain), std::move(rule)};
}

std::optional<Set> decode_set(const nlmsghdr* message, net::Family family) {
    constexpr std::uint8_t kSetComment = 7;
    Set set;
    std::uint32_t flags = 0;
    std::uint32_t key_length = 0;
    bool odd = false;
    for (const nlattr* attribute : netlink::attributes(message, sizeof(nfgenmsg))) {
        switch (mnl_attr_get_type(attribute)) {
            case NFTA_SET_NAME: set.name = text_of(attribute); break;
            case NFTA_SET_FLAGS: flags = number_of(attribute); break;
            case NFTA_SET_KEY_TYPE: set.key = fields_of(number_of(attribute), family); break;
            case NFTA_SET_KEY_LEN: key_length = number_of(attribute); break;
            case NFTA_SET_DATA_TYPE:
                set.data = fields_of(number_of(attribute), family);
                odd = odd || set.data.empty();
                break;
            case NFTA_SET_TIMEOUT:
                set.timeout_seconds = static_cast<std::uint32_t>(wide_number_of(attribute) / 1000);
                break;
            case NFTA_SET_EXPR:
                set.counts = named_data_of(attribute).name == "counter";
                odd = odd || !set.counts;
                break;
            case NFTA_SET_EXPRESSIONS: odd = true; break;  // several: a single one comes as the attribute above
            case NFTA_SET_DESC:
                for (const nlattr* part : netlink::nested(attribute))
                    if (mnl_attr_get_type(part) == NFTA_SET_DESC_SIZE) set.size = number_of(part);
                break;
            case NFTA_SET_USERDATA: set.comment = comment_of(attribute, kSetComment); break;
            default: break;
        }
    }
    const std::uint32_t expected = (set.data.empty() ? 0U : std::uint32_t{NFT_SET_MAP}) |
                                   (set.timeout_seconds == 0 ? 0U : NFT_SET_TIMEOUT | NFT_SET_EVAL);
    if ((flags & NFT_SET_ANONYMOUS) != 0) return std::nullopt;
    if (odd || flags != expected || key_length != stored_size(set.key, family)) set.key.clear();
    return set;
}

}  // namespace ghostip::kernel::nft

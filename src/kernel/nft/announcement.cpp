#include "kernel/nft/announcement.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cstring>

#include "kernel/netlink/attributes.h"

namespace ghostip::kernel::nft {
namespace {

using netlink::bytes_of;
using netlink::find;
using netlink::text_of;
using What = Announcement::What;

// Since Linux 6.3; a deletion that was asked for as `destroy` is announced under this name. Not in Debian 12's headers.
constexpr std::uint8_t kDestroyTable = 26;
constexpr std::uint8_t kDestroyChain = 27;
constexpr std::uint8_t kDestroyRule = 28;
constexpr std::uint8_t kDestroySet = 29;
constexpr std::uint8_t kDestroyElement = 30;
constexpr std::uint8_t kDestroyObject = 31;
constexpr std::uint8_t kDestroyFlowtable = 32;

// Every message about something in a table names the table here: NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE …
constexpr std::uint16_t kTableAttribute = NFTA_TABLE_NAME;
static_assert(kTableAttribute == NFTA_CHAIN_TABLE && kTableAttribute == NFTA_RULE_TABLE);
static_assert(kTableAttribute == NFTA_SET_TABLE && kTableAttribute == NFTA_SET_ELEM_LIST_TABLE);
static_assert(kTableAttribute == NFTA_OBJ_TABLE && kTableAttribute == NFTA_FLOWTABLE_TABLE);

std::optional<What> what_of(std::uint16_t message_type) {
    if (message_type >> 8 != NFNL_SUBSYS_NFTABLES) return std::nullopt;
    switch (message_type & 0xff) {
        case NFT_MSG_NEWTABLE: return What::kTableAdded;
        case NFT_MSG_DELTABLE:
        case kDestroyTable: return What::kTableDeleted;
        case NFT_MSG_NEWCHAIN: return What::kChainAdded;
        case NFT_MSG_DELCHAIN:
        case kDestroyChain: return What::kChainDeleted;
        case NFT_MSG_NEWRULE: return What::kRuleAdded;
        case NFT_MSG_DELRULE:
        case kDestroyRule: return What::kRuleDeleted;
        case NFT_MSG_NEWSET:
        case NFT_MSG_DELSET:
        case NFT_MSG_NEWOBJ:
        case NFT_MSG_DELOBJ:
        case NFT_MSG_NEWFLOWTABLE:
        case NFT_MSG_DELFLOWTABLE:
        case kDestroySet:
        case kDestroyObject:
        case kDestroyFlowtable: return What::kOtherChanged;
        case NFT_MSG_NEWSETELEM: return What::kElementsAdded;
        case NFT_MSG_DELSETELEM:
        case kDestroyElement: return What::kElementsDeleted;
        case NFT_MSG_NEWGEN: return What::kEnd;
        default: return std::nullopt;
    }
}

std::optional<net::Family> family_of(const nlmsghdr* message) {
    switch (static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(message))->nfgen_family) {
        case NFPROTO_IPV4: return net::Family::kIpv4;
        case NFPROTO_IPV6: return net::Family::kIpv6;
        default: return std::nullopt;
    }
}

// The last verdict with a chain: iptables' rules have one at most, at their end.
std::string_view target_of(const nlattr* expressions) {
    std::string_view target;
    for (const nlattr* expression : netlink::nested(expressions)) {
        if (text_of(find(expression, NFTA_EXPR_NAME)) != "immediate") continue;
        const nlattr* data = find(find(expression, NFTA_EXPR_DATA), NFTA_IMMEDIATE_DATA);
        const nlattr* chain = find(find(data, NFTA_DATA_VERDICT), NFTA_VERDICT_CHAIN);
        if (chain != nullptr) target = text_of(chain);
    }
    return target;
}

// The flags of the request are told again since Linux 5.15.
What chain_change(const nlmsghdr* message, bool built_in) {
    if ((message->nlmsg_flags & (NLM_F_CREATE | NLM_F_EXCL)) != 0) return What::kChainAdded;
    return built_in ? What::kChainChanged : What::kChainRenamed;
}

void read_end(netlink::Attributes attributes, Announcement& end) {
    const nlattr* id = find(attributes, NFTA_GEN_PROC_PID);
    if (id != nullptr && bytes_of(id).size() == sizeof end.process_id) {
        std::memcpy(&end.process_id, mnl_attr_get_payload(id), sizeof end.process_id);
        end.process_id = ntohl(end.process_id);
    }
    end.process_name = text_of(find(attributes, NFTA_GEN_PROC_NAME));
}

}  // namespace

std::optional<Announcement> read_announcement(const nlmsghdr* message) {
    if (message->nlmsg_len < sizeof(nlmsghdr) + sizeof(nfgenmsg)) return std::nullopt;
    const auto what = what_of(message->nlmsg_type);
    if (!what) return std::nullopt;
    Announcement result;
    result.what = *what;
    result.port_id = message->nlmsg_pid;
    const auto attributes = netlink::attributes(message, sizeof(nfgenmsg));
    if (*what == What::kEnd) {
        read_end(attributes, result);
        return result;
    }
    const nlattr* table = find(attributes, kTableAttribute);
    const auto family = family_of(message);
    if (table == nullptr || !family) return std::nullopt;
    result.family = *family;
    result.table = text_of(table);
    if (*what == What::kChainAdded || *what == What::kChainDeleted)
        result.chain = text_of(find(attributes, NFTA_CHAIN_NAME));
    if (*what == What::kChainAdded) result.what = chain_change(message, find(attributes, NFTA_CHAIN_HOOK) != nullptr);
    if (*what == What::kRuleAdded || *what == What::kRuleDeleted) {
        result.chain = text_of(find(attributes, NFTA_RULE_CHAIN));
        if (const nlattr* expressions = find(attributes, NFTA_RULE_EXPRESSIONS)) result.target = target_of(expressions);
    }
    return result;
}

}  // namespace ghostip::kernel::nft

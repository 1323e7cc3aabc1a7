#include "kernel/nft/foreign_write.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

#include "kernel/netlink/attributes.h"
#include "kernel/netlink/messages.h"

namespace ghostip::kernel::nft {
namespace {

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

constexpr std::size_t kWord = 4;

enum class About : std::uint8_t { kNothing, kTable, kStructure, kElementAdded, kElementDeleted, kGeneration };

About about(std::uint16_t message_type) {
    if (message_type >> 8 != NFNL_SUBSYS_NFTABLES) return About::kNothing;
    switch (message_type & 0xff) {
        case NFT_MSG_NEWTABLE:
        case NFT_MSG_DELTABLE:
        case kDestroyTable: return About::kTable;
        case NFT_MSG_NEWCHAIN:
        case NFT_MSG_DELCHAIN:
        case NFT_MSG_NEWRULE:
        case NFT_MSG_DELRULE:
        case NFT_MSG_NEWSET:
        case NFT_MSG_DELSET:
        case NFT_MSG_NEWOBJ:
        case NFT_MSG_DELOBJ:
        case NFT_MSG_NEWFLOWTABLE:
        case NFT_MSG_DELFLOWTABLE:
        case kDestroyChain:
        case kDestroyRule:
        case kDestroySet:
        case kDestroyObject:
        case kDestroyFlowtable: return About::kStructure;
        case NFT_MSG_NEWSETELEM: return About::kElementAdded;
        case NFT_MSG_DELSETELEM:
        case kDestroyElement: return About::kElementDeleted;
        case NFT_MSG_NEWGEN: return About::kGeneration;
        default: return About::kNothing;
    }
}

std::string_view bytes_of(const nlattr* attribute) {
    return {static_cast<const char*>(mnl_attr_get_payload(attribute)), mnl_attr_get_payload_len(attribute)};
}

// Up to its zero byte, if it has one.
std::string_view text_of(const nlattr* attribute) {
    const std::string_view bytes = bytes_of(attribute);
    return bytes.substr(0, bytes.find('\0'));
}

const nlattr* find(netlink::Attributes attributes, std::uint16_t type) {
    const nlattr* found = nullptr;
    for (const nlattr* attribute : attributes)
        if (mnl_attr_get_type(attribute) == type) found = attribute;
    return found;
}

std::vector<std::uint8_t> key_of(const nlattr* element) {
    const nlattr* key = find(netlink::nested(element), NFTA_SET_ELEM_KEY);
    const nlattr* value = key == nullptr ? nullptr : find(netlink::nested(key), NFTA_DATA_VALUE);
    if (value == nullptr) return {};
    const std::string_view bytes = bytes_of(value);
    std::vector<std::uint8_t> padded(bytes.begin(), bytes.end());
    padded.resize((padded.size() + kWord - 1) / kWord * kWord);
    return padded;
}

std::optional<std::size_t> family_index(const nlmsghdr* message) {
    switch (static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(message))->nfgen_family) {
        case NFPROTO_IPV4: return 0;
        case NFPROTO_IPV6: return 1;
        default: return std::nullopt;
    }
}

}  // namespace

void merge(ForeignWrite& into, ForeignWrite more) {
    into.table |= more.table;
    into.structure |= more.structure;
    into.added += more.added;
    into.deleted += more.deleted;
    into.lost |= more.lost;
    into.overflow |= more.overflow;
    const std::size_t room = kMaxTouched - std::min(kMaxTouched, into.elements.size());
    if (more.elements.size() > room) {
        into.overflow = true;
        more.elements.resize(room);
    }
    into.elements.insert(into.elements.end(), std::make_move_iterator(more.elements.begin()),
                         std::make_move_iterator(more.elements.end()));
}

void ForeignWrites::forget() {
    open_ = {};
    open_[1].family = net::Family::kIpv6;
}

void ForeignWrites::take(std::span<const std::uint8_t> datagram, std::vector<ForeignWrite>& out) {
    for (const nlmsghdr* message : netlink::messages(datagram.data(), datagram.size()))
        if (message->nlmsg_len >= sizeof(nlmsghdr) + sizeof(nfgenmsg) && !own_ports_.contains(message->nlmsg_pid))
            take_message(message, out);
}

void ForeignWrites::take_message(const nlmsghdr* message, std::vector<ForeignWrite>& out) {
    const About what = about(message->nlmsg_type);
    if (what == About::kNothing) return;
    const auto attributes = netlink::attributes(message, sizeof(nfgenmsg));
    if (what == About::kGeneration) {
        const nlattr* id = find(attributes, NFTA_GEN_PROC_PID);
        const nlattr* name = find(attributes, NFTA_GEN_PROC_NAME);
        std::uint32_t process_id = 0;
        if (id != nullptr && bytes_of(id).size() == sizeof process_id)
            std::memcpy(&process_id, mnl_attr_get_payload(id), sizeof process_id);
        close({ntohl(process_id), std::string(name == nullptr ? std::string_view() : text_of(name))}, out);
        return;
    }
    const nlattr* table = find(attributes, kTableAttribute);
    const auto family = family_index(message);
    if (table == nullptr || text_of(table) != table_ || !family) return;
    ForeignWrite& write = open_[*family];
    if (what == About::kTable) write.table = true;
    if (what == About::kStructure) write.structure = true;
    if (what == About::kElementAdded) take_elements(message, Touched::How::kAdded, write);
    if (what == About::kElementDeleted) take_elements(message, Touched::How::kDeleted, write);
}

void ForeignWrites::take_elements(const nlmsghdr* message, Touched::How how, ForeignWrite& write) {
    const auto attributes = netlink::attributes(message, sizeof(nfgenmsg));
    const nlattr* set = find(attributes, NFTA_SET_ELEM_LIST_SET);
    const nlattr* list = find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS);
    if (set == nullptr || list == nullptr) return;
    for (const nlattr* element : netlink::nested(list)) {
        ++(how == Touched::How::kAdded ? write.added : write.deleted);
        if (write.elements.size() < kMaxTouched)
            write.elements.push_back({std::string(text_of(set)), key_of(element), how});
        else
            write.overflow = true;
    }
}

void ForeignWrites::close(const Writer& writer, std::vector<ForeignWrite>& out) {
    for (ForeignWrite& write : open_) {
        if (write.empty()) continue;
        write.process_id = writer.process_id;
        write.process_name = writer.process_name;
        if (lost_) last_writer_ = writer;
        out.push_back(std::move(write));
    }
    forget();
}

void ForeignWrites::lost() { lost_ = true; }

void ForeignWrites::drained(std::vector<ForeignWrite>& out) {
    if (!lost_) return;
    for (ForeignWrite& write : open_) write.lost = true;
    close(Writer(last_writer_), out);
    lost_ = false;
    last_writer_ = {};
}

}  // namespace ghostip::kernel::nft

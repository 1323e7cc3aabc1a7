// What one message of nf_tables' notifications says. Only bytes in and a value out: the socket is in notifications.h.
//
// nf_tables announces a transaction when it is committed: one message for each table, chain, rule, set and element,
// then NFT_MSG_NEWGEN with the process that wrote (nf_tables_commit in net/netfilter/nf_tables_api.c, the same in 6.1
// and 6.18; commits are serialised for a network namespace, so transactions never interleave). Each message carries the
// netlink port of the socket that wrote.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "net/address.h"

struct nlmsghdr;

namespace ghostip::kernel::nft {

// Views into the message.
struct Announcement {
    enum class What : std::uint8_t {
        kTableAdded,  // or changed
        kTableDeleted,
        kChainAdded,    // or asked for again
        kChainChanged,  // a built-in one's policy or counters
        kChainRenamed,  // to `chain`; from what is not told
        kChainDeleted,
        kRuleAdded,
        kRuleDeleted,   // one that is replaced, too
        kOtherChanged,  // a set, an object, a flow table came, went or changed
        kElementsAdded,
        kElementsDeleted,
        kEnd,  // of the transaction
    };
    What what = What::kEnd;
    net::Family family = net::Family::kIpv4;  // not of kEnd
    std::string_view table;                   // not of kEnd
    std::string_view chain;                   // of chains and rules
    // Of a rule: the chain that it leads to; empty: none. Absent: the kernel did not tell the rule's contents.
    std::optional<std::string_view> target;
    std::uint32_t port_id = 0;
    // Of kEnd, as the kernel tells: the id in the first process namespace (0: not told), a name of at most 15 bytes.
    std::uint32_t process_id = 0;
    std::string_view process_name;
};

// Nothing: it is of another subsystem or family, or not understood.
[[nodiscard]] std::optional<Announcement> read_announcement(const nlmsghdr* message);

}  // namespace ghostip::kernel::nft

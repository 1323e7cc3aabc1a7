// Netlink messages of nf_tables to values: the way back of encode.h, for comparing what the kernel holds with what it
// should hold. Pure functions of the message's bytes; what is not understood comes out as something that equals nothing
// of ours.
#pragma once

#include <libmnl/libmnl.h>

#include <optional>
#include <string>
#include <utility>

#include "kernel/nft/kernel.h"

namespace ghostip::kernel::nft {

// One element of a set, appended: its key, then its data if `data_bytes` is not 0. Nothing for an element without a key
// (the one that matches everything).
void decode_element(const nlattr* element, std::size_t key_bytes, std::size_t data_bytes,
                    std::vector<std::uint8_t>& out);

// What an element has counted; 0 where it does not count.
[[nodiscard]] Count decode_count(const nlattr* element);

// NFT_MSG_NEWCHAIN: the table's name, and the chain without rules.
[[nodiscard]] std::pair<std::string, Chain> decode_chain(const nlmsghdr* message);
// NFT_MSG_NEWRULE: the chain's name, and the rule without text.
[[nodiscard]] std::pair<std::string, Rule> decode_rule(const nlmsghdr* message, net::Family family);
// NFT_MSG_NEWSET. Without a key if this program could not have declared it so; absent if it is anonymous.
[[nodiscard]] std::optional<Set> decode_set(const nlmsghdr* message, net::Family family);

}  // namespace ghostip::kernel::nft

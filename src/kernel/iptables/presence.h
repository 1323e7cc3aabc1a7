// What of a table is in the kernel already, without a program and without making the kernel load or create anything.
// For the network namespace that the calling thread is in. Blocking, but quick; any thread.
#pragma once

#include <string_view>

#include "base/result.h"
#include "net/address.h"

namespace ghostip::kernel::iptables {

// Tables of iptables-nft are tables of nf_tables, of the family `ip` or `ip6`. Errors: no netlink socket, or not
// allowed.
[[nodiscard]] Result<bool> nft_has_table(net::Family family, std::string_view table);
// False also where there is no such table.
[[nodiscard]] Result<bool> nft_has_chain(net::Family family, std::string_view table, std::string_view chain);

// Whether the table of iptables-legacy is in use here. False where the kernel has none at all.
[[nodiscard]] bool legacy_has_table(net::Family family, std::string_view table);

}  // namespace ghostip::kernel::iptables

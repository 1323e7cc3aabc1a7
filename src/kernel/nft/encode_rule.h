// A rule as libnftnl has it.
#pragma once

#include <libnftnl/rule.h>

#include <memory>
#include <string>

#include "kernel/nft/model.h"

namespace ghostip::kernel::nft {

using NftnlRule = std::unique_ptr<nftnl_rule, void (*)(const nftnl_rule*)>;

[[nodiscard]] NftnlRule to_nftnl(const Rule& rule, const Table& table, const std::string& chain);

}  // namespace ghostip::kernel::nft

// One expression of a rule, as nf_tables dumps it, to a value. The kernel writes some things otherwise than they were
// given to it (registers, ranges that are one address); here both forms come out the same.
#pragma once

#include <libmnl/libmnl.h>

#include "kernel/nft/model.h"

namespace ghostip::kernel::nft {

[[nodiscard]] Expression decode_expression(const nlattr* expression, net::Family family);

}  // namespace ghostip::kernel::nft

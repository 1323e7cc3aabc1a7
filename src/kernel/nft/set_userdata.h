// What nft keeps in a set's user data, so that it can print the set: comment, and how the key is typed when a type name
// alone cannot say it. The numbers are nft 1.0.6's; 1.1.3 reads them too.
#pragma once

#include <cstdint>
#include <vector>

#include "kernel/nft/model.h"

namespace ghostip::kernel::nft {

[[nodiscard]] std::vector<std::uint8_t> set_userdata(const Set& set, net::Family family);
[[nodiscard]] std::vector<std::uint8_t> comment_userdata(const std::string& comment);

}  // namespace ghostip::kernel::nft

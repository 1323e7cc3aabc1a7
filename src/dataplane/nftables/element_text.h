// Elements as nft writes them: `10.96.0.10 . tcp . 80 . 0 : 10.244.0.5 . 8080`.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "dataplane/nftables/names.h"

namespace ghostip::dataplane::nftables {

// Key and data of one element, back to back as in kernel::nft::Elements.
[[nodiscard]] std::string element_text(const kernel::nft::Set& set, std::span<const std::uint8_t> bytes,
                                       net::Family family);
[[nodiscard]] inline std::string element_text(const SetRef& ref, std::span<const std::uint8_t> bytes,
                                              net::Family family) {
    return element_text(declare(ref), bytes, family);
}

}  // namespace ghostip::dataplane::nftables

// A document, or a part of one, as JSON text: what is passed on to another program as it was found.
#pragma once

#include <string>
#include <string_view>

#include "api/codec/tree.h"

namespace ghostip::source::kubernetes {

// `"text"`, in ASCII quotes. Bytes beyond ASCII stay as they are.
[[nodiscard]] std::string json_quoted(std::string_view text);

// A number that JSON cannot write (YAML has more of them) becomes text.
[[nodiscard]] std::string to_json(const api::codec::Tree& tree, const api::codec::TreeNode& node);

}  // namespace ghostip::source::kubernetes

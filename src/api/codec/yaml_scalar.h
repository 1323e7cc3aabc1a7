// What a plain YAML scalar means: the YAML 1.1 rules of go-yaml v2, by which kubectl reads files.
#pragma once

#include <string>
#include <string_view>

#include "api/codec/tree.h"

namespace ghostip::api::codec {

struct YamlScalar {
    NodeKind kind = NodeKind::kString;
    // kBool: "true" or "false". kNumber: integers in decimal, other numbers as they stand. Else as it stands.
    std::string text;
};

// `yes`, `off`, `~`, `0x1F`, `0o17`, `017`, `1_000`, `1.5`, and everything else, which is text.
[[nodiscard]] YamlScalar read_plain_scalar(std::string_view text);

}  // namespace ghostip::api::codec

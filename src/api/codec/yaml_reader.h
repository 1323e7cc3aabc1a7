// YAML text into trees, one object or one item of a list at a time.
#pragma once

#include "api/byte_reader.h"
#include "api/codec/document.h"

namespace ghostip::api::codec {

// Any number of documents, each an object, a list, or nothing. Aliases (`*name`) are refused: they can make a small
// file large, and no tool that writes Kubernetes objects uses them. Memory: the tree of one object, and libyaml's
// buffers.
[[nodiscard]] Result<void> read_yaml(ByteReader& reader, Documents& document);

}  // namespace ghostip::api::codec

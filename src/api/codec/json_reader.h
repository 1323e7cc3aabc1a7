// JSON text into trees, one object or one item of a list at a time.
#pragma once

#include "api/byte_reader.h"
#include "api/codec/document.h"

namespace ghostip::api::codec {

// Any number of objects or lists, one after the other. Memory: a window as large as the largest object, and its tree.
[[nodiscard]] Result<void> read_json(ByteReader& reader, Documents& document);

}  // namespace ghostip::api::codec

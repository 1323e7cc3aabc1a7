// One protobuf message into the tree that its JSON would give, as far as the schema knows its fields.
//
// Nothing is copied but numbers: the tree's views lead into the message. A field that the message may have once and has
// twice is refused, as a key that is there twice is in JSON; no API server writes that.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/codec/protobuf_schema.h"
#include "api/codec/tree.h"

namespace ghostip::api::codec {

struct ProtobufFlaw {
    std::string field;  // `spec.ports[1].name`; empty: the message as a whole
    std::string message;
};

// Adds the message's fields to the mapping `into`. With a flaw, the tree has what stood before it.
[[nodiscard]] std::optional<ProtobufFlaw> read_protobuf(std::string_view bytes, const ProtobufMessage& message,
                                                        Tree& tree, NodeId into);

// A tree of its own: its root is the message.
[[nodiscard]] std::optional<ProtobufFlaw> read_protobuf(std::string_view bytes, const ProtobufMessage& message,
                                                        Tree& tree);

}  // namespace ghostip::api::codec

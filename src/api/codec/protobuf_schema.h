// Which fields of Kubernetes' protobuf messages are read, and as what: the numbers of generated.proto as tables, with
// the names that the same fields have in JSON. What is not here is skipped.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "api/objects.h"

namespace ghostip::api::codec {

enum class ProtobufType : std::uint8_t {
    kString,
    kInt32,
    kBool,
    kTime,       // a Time message; the zero time is an empty one, and then nothing
    kStringMap,  // map<string, string>
    kMessage,
};

enum class Presence : std::uint8_t {
    kPlain,     // always on the wire: zero, false and empty text mean that nobody set it, as if JSON left it out
    kPointer,   // on the wire only if somebody set it, perhaps to zero
    kRepeated,  // a list
};

struct ProtobufMessage;

struct ProtobufField {
    std::uint32_t number;
    std::string_view name;
    ProtobufType type;
    Presence presence = Presence::kPlain;
    const ProtobufMessage* message = nullptr;  // with kMessage
};

// Fields in the order of their numbers, at most kMostFields.
struct ProtobufMessage {
    std::span<const ProtobufField> fields;
};

inline constexpr std::size_t kMostFields = 16;

[[nodiscard]] const ProtobufMessage& message_of(Kind kind);
extern const ProtobufMessage kAnyObject;  // of any kind: its metadata
extern const ProtobufMessage kListMetaMessage;
extern const ProtobufMessage kStatusMessage;

}  // namespace ghostip::api::codec

// What Kubernetes puts around a protobuf message: four bytes that say so, then a runtime.Unknown.
//
//     6b 38 73 00 | typeMeta 1 {apiVersion 1, kind 2} | raw 2: the message | contentEncoding 3 | contentType 4
#pragma once

#include <string_view>

#include "base/result.h"

namespace ghostip::api::codec {

inline constexpr std::string_view kProtobufMagic{"k8s\0", 4};

struct TypeMeta {
    std::string_view api_version;
    std::string_view kind;
};

struct ProtobufEnvelope {
    TypeMeta type;
    std::string_view raw;
};

// Views into `bytes`.
[[nodiscard]] Result<ProtobufEnvelope> open_envelope(std::string_view bytes);

// The value of typeMeta.
[[nodiscard]] Result<TypeMeta> read_type_meta(std::string_view bytes);

// An error for any other than none.
[[nodiscard]] Result<void> check_content_encoding(std::string_view encoding);

// The message of a watch's frame.
struct ProtobufWatchEvent {
    std::string_view type;
    std::string_view object;  // an envelope
};

[[nodiscard]] Result<ProtobufWatchEvent> read_watch_event(std::string_view bytes);

}  // namespace ghostip::api::codec

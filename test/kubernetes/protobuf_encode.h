// Objects as an API server sends them in protobuf, with the fields that ghostip keeps: for tests and benchmarks.
#pragma once

#include <cstdint>
#include <string>

#include "api/objects.h"

namespace ghostip::testkubernetes {

// What the structs of objects.h do not keep.
struct Extra {
    std::uint64_t resource_version = 0;
    std::string trigger_time = {};  // of an EndpointSlice: its last-change-trigger-time, RFC 3339; empty: none
};

// The bare message, without an envelope.
[[nodiscard]] std::string protobuf_message(const api::Object& object, const Extra& extra);
// "k8s", a zero byte and runtime.Unknown around a message.
[[nodiscard]] std::string protobuf_envelope(std::string_view api_version, std::string_view kind,
                                            std::string_view message);
// A frame of a watch stream: length, WatchEvent, envelope.
[[nodiscard]] std::string protobuf_frame(std::string_view type, std::string_view envelope);

// Pieces of other messages: metadata and one item of a list, the object of a bookmark, a Status.
[[nodiscard]] std::string list_metadata(std::uint64_t version, std::string_view continue_token);
[[nodiscard]] std::string list_item(std::string_view message);
[[nodiscard]] std::string bookmark_message(std::uint64_t version, bool initial_events_end);
[[nodiscard]] std::string status_message(int code, std::string_view reason, std::string_view message);

// As JSON, with what the structs do not keep.
[[nodiscard]] std::string json_object(const api::Object& object, const Extra& extra);

[[nodiscard]] std::string_view api_version_of(api::Kind kind);

}  // namespace ghostip::testkubernetes

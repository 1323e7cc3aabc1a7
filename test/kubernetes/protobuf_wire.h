// What a model of an API server says in protobuf. A value without state.
#pragma once

#include "kubernetes/protobuf_encode.h"
#include "source/kubernetes/wire_testing.h"

namespace ghostip::testkubernetes {

class ProtobufWire final : public source::kubernetes::testing::Wire {
  public:
    [[nodiscard]] std::string media_type(Form form) const override {
        return form == Form::kList ? "application/vnd.kubernetes.protobuf"
                                   : "application/vnd.kubernetes.protobuf;stream=watch";
    }
    // The bare message: its envelope belongs to an event, and a list has none inside.
    [[nodiscard]] std::string object(const api::Object& object, int version, Is state) const override {
        std::string message = protobuf_message(object, {static_cast<std::uint64_t>(version), {}});
        // Field 2, the spec or the endpoints, once more and as a number.
        if (state == Is::kBroken) message += "\x10\x07";
        return message;
    }
    [[nodiscard]] std::string event(std::string_view type, api::Kind kind, std::string_view object) const override {
        return protobuf_frame(type, protobuf_envelope(api_version_of(kind), api::kind_name(kind), object));
    }
    [[nodiscard]] std::string bookmark(api::Kind kind, int version, bool all_there) const override {
        return event("BOOKMARK", kind, bookmark_message(static_cast<std::uint64_t>(version), all_there));
    }
    [[nodiscard]] std::string status(int code, std::string_view reason, std::string_view message) const override {
        return protobuf_envelope("v1", "Status", status_message(code, reason, message));
    }
    [[nodiscard]] std::string error_event(int code, std::string_view reason) const override {
        return protobuf_frame("ERROR", status(code, reason, reason));
    }
    [[nodiscard]] std::string list(api::Kind kind, const std::vector<std::string>& objects, int version,
                                   std::string_view token) const override {
        std::string message = list_metadata(static_cast<std::uint64_t>(version), token);
        for (const auto& object : objects) message += list_item(object);
        return protobuf_envelope(api_version_of(kind), std::string(api::kind_name(kind)) + "List", message);
    }
};

}  // namespace ghostip::testkubernetes

#include "api/codec/protobuf_envelope.h"

#include <array>
#include <protozero/pbf_reader.hpp>
#include <span>

#include "api/problem.h"

namespace ghostip::api::codec {
namespace {

struct Part {
    std::uint32_t number;
    std::string_view* into;
};

// Texts and bytes of one level.
Result<void> read_parts(std::string_view what, std::string_view bytes, std::span<const Part> parts) {
    try {
        protozero::pbf_reader reader(bytes.data(), bytes.size());
        while (reader.next()) {
            const Part* found = nullptr;
            for (const Part& part : parts)
                if (part.number == reader.tag()) found = &part;
            if (found == nullptr) {
                reader.skip();
                continue;
            }
            if (reader.wire_type() != protozero::pbf_wire_type::length_delimited)
                return fail("{}: field {} is not of the type that it should have", what, found->number);
            const auto view = reader.get_view();
            *found->into = {view.data(), view.size()};
        }
    } catch (const protozero::exception& error) {
        return fail("{} is not valid protobuf: {}", what, error.what());
    }
    return {};
}

}  // namespace

Result<ProtobufEnvelope> open_envelope(std::string_view bytes) {
    if (bytes.empty()) return fail("is empty");
    if (!bytes.starts_with(kProtobufMagic)) return fail("does not begin with the bytes k8s\\x00");
    bytes.remove_prefix(kProtobufMagic.size());
    if (bytes.empty()) return fail("has nothing behind the bytes k8s\\x00");
    std::string_view type;
    std::string_view encoding;
    ProtobufEnvelope envelope;
    RETURN_IF_ERROR(
        read_parts("the envelope", bytes, std::array{Part{1, &type}, Part{2, &envelope.raw}, Part{3, &encoding}}));
    RETURN_IF_ERROR(check_content_encoding(encoding));
    ASSIGN_OR_RETURN(envelope.type, read_type_meta(type));
    return envelope;
}

Result<TypeMeta> read_type_meta(std::string_view bytes) {
    TypeMeta type;
    RETURN_IF_ERROR(read_parts("typeMeta", bytes, std::array{Part{1, &type.api_version}, Part{2, &type.kind}}));
    return type;
}

Result<void> check_content_encoding(std::string_view encoding) {
    if (encoding.empty()) return {};
    return fail("contentEncoding: \"{}\": is not known", printable(encoding));
}

Result<ProtobufWatchEvent> read_watch_event(std::string_view bytes) {
    ProtobufWatchEvent event;
    std::string_view object;
    RETURN_IF_ERROR(read_parts("an event", bytes, std::array{Part{1, &event.type}, Part{2, &object}}));
    RETURN_IF_ERROR(read_parts("an event's object", object, std::array{Part{1, &event.object}}));
    return event;
}

}  // namespace ghostip::api::codec

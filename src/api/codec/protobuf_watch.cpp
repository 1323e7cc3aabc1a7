#include "api/codec/object_decoder.h"
#include "api/codec/protobuf_stream.h"
#include "api/codec/protobuf_tree.h"

namespace ghostip::api::codec {
namespace {

constexpr std::size_t kLengthBytes = 4;

std::size_t frame_length(std::string_view bytes) {
    std::size_t length = 0;
    for (const char byte : bytes.substr(0, kLengthBytes)) length = length << 8U | static_cast<unsigned char>(byte);
    return length;
}

}  // namespace

Result<void> ProtobufWatch::feed(std::string_view bytes) {
    return buffer_.feed(bytes, [this] { return work(); });
}

Result<void> ProtobufWatch::finish() {
    if (buffer_.broken()) return *buffer_.broken();
    if (!buffer_.rest().empty())
        return fail("the stream ends inside of an event, after {} bytes", buffer_.rest().size());
    return {};
}

Result<void> ProtobufWatch::work() {
    while (buffer_.rest().size() >= kLengthBytes) {
        const std::size_t length = frame_length(buffer_.rest());
        if (length > kMaxObjectBytes)
            return fail("an event claims to have {} bytes, more than {} MiB", length, kMaxObjectBytes >> 20U);
        if (buffer_.rest().size() < kLengthBytes + length) return {};
        RETURN_IF_ERROR(event(buffer_.rest().substr(kLengthBytes, length)));
        buffer_.drop(kLengthBytes + length);
    }
    return {};
}

Result<void> ProtobufWatch::event(std::string_view frame) {
    ASSIGN_OR_RETURN(const ProtobufWatchEvent event, read_watch_event(frame));
    const auto type = event_type_of(event.type);
    if (!type) return fail("an event is of the type \"{}\", which watches do not have", printable(event.type));
    tree_.clear();
    const auto envelope = open_envelope(event.object);
    if (!envelope) {
        receiver_.unreadable(*type, tree_, nullptr, {}, envelope.error().message);
        return {};
    }
    const TypeMeta& meta = envelope->type;
    const bool ours = meta.kind == kind_name(receiver_.kind());
    const ProtobufMessage& message = ours                    ? message_of(receiver_.kind())
                                     : meta.kind == "Status" ? kStatusMessage
                                                             : kAnyObject;
    const NodeId root = tree_.add(kNoNode, {}, {.kind = NodeKind::kMapping});
    tree_.add(root, "apiVersion", {.kind = NodeKind::kString, .text = meta.api_version});
    tree_.add(root, "kind", {.kind = NodeKind::kString, .text = meta.kind});
    auto flaw = read_protobuf(envelope->raw, message, tree_, root);
    // What is of another kind is passed over, good or not.
    if (flaw && (ours || *type == EventType::kError))
        receiver_.unreadable(*type, tree_, &tree_.root(), std::move(flaw->field), std::move(flaw->message));
    else
        receiver_.event(*type, tree_, tree_.root());
    return {};
}

}  // namespace ghostip::api::codec

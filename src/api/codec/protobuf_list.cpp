#include <algorithm>
#include <protozero/varint.hpp>

#include "api/codec/peek.h"
#include "api/codec/protobuf_stream.h"
#include "api/codec/protobuf_tree.h"

namespace ghostip::api::codec {
namespace {

// Of runtime.Unknown.
constexpr std::uint32_t kTypeMeta = 1;
constexpr std::uint32_t kRaw = 2;
constexpr std::uint32_t kContentEncoding = 3;
// Of each list.
constexpr std::uint32_t kMetadata = 1;
constexpr std::uint32_t kItems = 2;

}  // namespace

Result<void> ProtobufList::feed(std::string_view bytes) {
    return buffer_.feed(bytes, [this] { return work(); });
}

Result<ListMeta> ProtobufList::finish() {
    if (buffer_.broken()) return *buffer_.broken();
    const std::string& kind = receiver_.list_kind();
    if (!begun_ && buffer_.rest().empty()) return fail("the answer is empty, but a {} was asked for", kind);
    if (list_ == List::kInside || skip_ > 0 || !buffer_.rest().empty())
        return fail("the {} ends before it is whole", kind);
    if (list_ == List::kComes) return fail("the answer has no {} in it", kind);
    RETURN_IF_ERROR(type_known());
    return meta_;
}

Result<void> ProtobufList::work() {
    if (!begun_) {
        const std::string_view rest = buffer_.rest();
        if (!kProtobufMagic.starts_with(rest.substr(0, kProtobufMagic.size())))
            return fail("the answer does not begin with the bytes k8s\\x00, but with \"{}\"",
                        printable(rest.substr(0, 96)));
        if (rest.size() < kProtobufMagic.size()) return {};
        buffer_.drop(kProtobufMagic.size());
        begun_ = true;
    }
    while (true) {
        const auto skipped = static_cast<std::size_t>(std::min<std::uint64_t>(skip_, buffer_.rest().size()));
        buffer_.drop(skipped);
        skip_ -= skipped;
        if (skip_ > 0 || buffer_.rest().size() < wanted_) return {};
        if (list_ == List::kInside && left_ == 0) list_ = List::kRead;
        ASSIGN_OR_RETURN(const bool taken, field());
        if (!taken) return {};
        wanted_ = 0;
    }
}

Result<bool> ProtobufList::field() {
    ASSIGN_OR_RETURN(const std::optional<Head> head, this->head());
    if (!head) return false;
    const bool inside = list_ == List::kInside;
    if (inside && (head->size > left_ || head->body > left_ - head->size))
        return fail("the {} is not valid protobuf: field {} is longer than what is around it", receiver_.list_kind(),
                    head->number);
    const bool read =
        head->number == kTypeMeta || head->number == kItems || (head->number == kContentEncoding && !inside);
    if (read && !head->has_length)
        return fail("the {} is not valid protobuf: field {} is not of the type that it should have",
                    receiver_.list_kind(), head->number);
    if (!inside && head->number == kRaw && kind_ != "Status") return open_list(*head);
    if (read && head->body > kMaxObjectBytes) return fail("an object has more than {} MiB", kMaxObjectBytes >> 20U);
    if (read && buffer_.rest().size() - head->size < head->body) {
        wanted_ = head->size + static_cast<std::size_t>(head->body);
        return false;
    }
    if (inside) left_ -= head->size + head->body;
    if (!read) {
        buffer_.drop(head->size);
        skip_ = head->body;
        return true;
    }
    const auto body = buffer_.rest().substr(head->size, static_cast<std::size_t>(head->body));
    RETURN_IF_ERROR(inside ? list_field(head->number, body) : envelope_field(head->number, body));
    buffer_.drop(head->size + body.size());
    return true;
}

Result<std::optional<ProtobufList::Head>> ProtobufList::head() const {
    const std::string_view rest = buffer_.rest();
    const char* at = rest.data();
    const char* const end = at + rest.size();
    Head head;
    try {
        const std::uint64_t tag = protozero::decode_varint(&at, end);
        head.number = static_cast<std::uint32_t>(tag >> 3U);
        switch (tag & 7U) {
            case 0: static_cast<void>(protozero::decode_varint(&at, end)); break;
            case 1: head.body = 8; break;
            case 2:
                head.has_length = true;
                head.body = protozero::decode_varint(&at, end);
                break;
            case 5: head.body = 4; break;
            default: return fail("the {} is not valid protobuf: unknown wire type", receiver_.list_kind());
        }
    } catch (const protozero::end_of_buffer_exception&) {
        return std::optional<Head>();
    } catch (const protozero::exception& error) {
        return fail("the {} is not valid protobuf: {}", receiver_.list_kind(), error.what());
    }
    head.size = static_cast<std::size_t>(at - rest.data());
    return std::optional(head);
}

Result<bool> ProtobufList::open_list(const Head& head) {
    // Told before: this is the moment from which bytes would be taken for items.
    if (api_version_) RETURN_IF_ERROR(type_known());
    if (list_ == List::kRead) return fail("the answer has two lists in it");
    list_ = List::kInside;
    left_ = head.body;
    buffer_.drop(head.size);
    return true;
}

Result<void> ProtobufList::envelope_field(std::uint32_t number, std::string_view body) {
    if (number == kRaw) return status(body);
    if (number == kContentEncoding) return check_content_encoding(body);
    ASSIGN_OR_RETURN(const TypeMeta type, read_type_meta(body));
    api_version_ = type.api_version;
    kind_ = type.kind;
    return {};
}

Result<void> ProtobufList::list_field(std::uint32_t number, std::string_view body) {
    auto flaw = read_protobuf(body, number == kMetadata ? kListMetaMessage : message_of(receiver_.kind()), tree_);
    if (number == kItems) {
        if (flaw)
            receiver_.unreadable(EventType::kAdded, tree_, &tree_.root(), std::move(flaw->field),
                                 std::move(flaw->message));
        else
            receiver_.item(tree_);
        return {};
    }
    if (flaw) return fail("{}: metadata: {} {}", receiver_.list_kind(), flaw->field, flaw->message);
    meta_ = {std::string(peek_text(tree_, &tree_.root(), "resourceVersion")),
             std::string(peek_text(tree_, &tree_.root(), "continue"))};
    return {};
}

Result<void> ProtobufList::status(std::string_view body) {
    if (const auto flaw = read_protobuf(body, kStatusMessage, tree_))
        return fail("the answer is a Status, but its {} {}", flaw->field, flaw->message);
    tree_.add(0, "kind", {.kind = NodeKind::kString, .text = kind_});
    tree_.add(0, "apiVersion", {.kind = NodeKind::kString, .text = *api_version_});
    const auto status = status_of(tree_, tree_.root());
    return fail("the answer is no list: {}", status ? status_text(*status) : "a Status of an unknown version");
}

Result<void> ProtobufList::type_known() const {
    if (auto error = receiver_.check_list_type(api_version_.value_or(std::string()), kind_)) return *std::move(error);
    return {};
}

}  // namespace ghostip::api::codec

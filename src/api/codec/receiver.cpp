#include "api/codec/receiver.h"

#include <array>
#include <utility>

#include <fmt/format.h>

#include "api/codec/object_decoder.h"
#include "api/codec/peek.h"

namespace ghostip::api::codec {
namespace {

constexpr std::string_view kInitialEventsEnd = "k8s.io/initial-events-end";
constexpr std::string_view kTooLargeReason = "ResourceVersionTooLarge";
constexpr std::string_view kTooLargeText = "Too large resource version";
constexpr int kInternalError = 500;

constexpr std::array<std::pair<std::string_view, EventType>, 5> kEventTypes{{
    {"ADDED", EventType::kAdded},
    {"MODIFIED", EventType::kModified},
    {"DELETED", EventType::kDeleted},
    {"BOOKMARK", EventType::kBookmark},
    {"ERROR", EventType::kError},
}};

// Servers before 1.15 have no cause of that name, only the text.
bool too_large(const Tree& tree, const TreeNode* details, std::string_view reason, std::string_view message) {
    const auto says = [](std::string_view text) { return text.find(kTooLargeText) != std::string_view::npos; };
    const bool timeout = reason == "Timeout";
    const TreeNode* causes = peek(tree, details, "causes");
    if (causes != nullptr && causes->kind == NodeKind::kSequence)
        for (NodeId at = causes->first; at != kNoNode; at = tree.node(at).next) {
            if (peek_text(tree, &tree.node(at), "reason") == kTooLargeReason) return true;
            if (timeout && says(peek_text(tree, &tree.node(at), "message"))) return true;
        }
    return timeout && says(message);
}

}  // namespace

std::optional<EventType> event_type_of(std::string_view name) {
    for (const auto& [candidate, type] : kEventTypes)
        if (candidate == name) return type;
    return std::nullopt;
}

std::optional<Status> status_of(const Tree& tree, const TreeNode& object) {
    if (peek_text(tree, &object, "kind") != "Status" || peek_text(tree, &object, "apiVersion") != "v1")
        return std::nullopt;
    const TreeNode* details = peek(tree, &object, "details");
    Status status;
    status.code = peek_number(tree, &object, "code");
    status.reason = peek_text(tree, &object, "reason");
    status.message = peek_text(tree, &object, "message");
    status.retry_after_seconds = peek_number(tree, details, "retryAfterSeconds");
    status.resource_version_too_large = too_large(tree, details, status.reason, status.message);
    return status;
}

std::string status_text(const Status& status) {
    return fmt::format("{} {}: {}", status.code, printable(status.reason), printable(status.message));
}

Receiver::Receiver(Kind kind, StreamSink& sink)
    : kind_(kind),
      list_kind_(fmt::format("{}List", kind_name(kind))),
      items_{std::string(api_version_of(kind_name(kind))), std::string(kind_name(kind)), true},
      sink_(sink) {}

std::optional<Error> Receiver::check_list_type(std::string_view api_version, std::string_view kind) const {
    if (kind == list_kind_ && api_version == items_.api_version) return std::nullopt;
    return fail("the answer is a {} of \"{}\", but a {} of \"{}\" was asked for",
                kind.empty() ? "thing without a kind" : printable(kind), printable(api_version), list_kind_,
                items_.api_version);
}

void Receiver::item(const Tree& tree) { receive(EventType::kAdded, tree, tree.root(), items_); }

void Receiver::event(EventType type, const Tree& tree, const TreeNode& object) {
    if (type == EventType::kError) return error_event(tree, object);
    if (type != EventType::kBookmark) return receive(type, tree, object, {});
    if (!is_ours(tree, object, {})) return;
    Received received = named(type, tree, &object);
    const TreeNode* annotations = peek(tree, peek(tree, &object, "metadata"), "annotations");
    received.initial_events_end = peek_text(tree, annotations, kInitialEventsEnd) == "true";
    sink_.received(std::move(received));
}

void Receiver::receive(EventType type, const Tree& tree, const TreeNode& object, const ItemType& from_list) {
    if (!is_ours(tree, object, from_list)) return;
    decoded_.reset();
    decode_object(tree, object, {}, from_list, *this);
    Received received = named(type, tree, &object);
    received.object = std::exchange(decoded_, std::nullopt);
    sink_.received(std::move(received));
}

void Receiver::error_event(const Tree& tree, const TreeNode& object) {
    Received received = named(EventType::kError, tree, nullptr);
    if (auto status = status_of(tree, object))
        received.status = *std::move(status);
    else
        received.status = {.code = kInternalError,
                           .reason = "InternalError",
                           .message = "the server sent an ERROR event whose object is no Status"};
    sink_.received(std::move(received));
}

void Receiver::unreadable(EventType type, const Tree& tree, const TreeNode* object, std::string field,
                          std::string message) {
    if (type != EventType::kError && object != nullptr && !is_ours(tree, *object, items_)) return;
    Received received = named(type, tree, object);
    const ObjectKey& key = received.key;
    problem({{}, 0, describe(kind_name(kind_), key.namespace_, key.name), std::move(field), {}, std::move(message)});
    if (type == EventType::kError)
        received.status = {.code = kInternalError,
                           .reason = "InternalError",
                           .message = "the server sent an ERROR event that cannot be read"};
    sink_.received(std::move(received));
}

Received Receiver::named(EventType type, const Tree& tree, const TreeNode* object) const {
    const TreeNode* metadata = peek(tree, object, "metadata");
    Received received;
    received.type = type;
    received.key = type == EventType::kError || type == EventType::kBookmark ? ObjectKey{kind_, {}, {}}
                                                                             : peek_key(tree, object, kind_);
    received.resource_version = peek_text(tree, metadata, "resourceVersion");
    return received;
}

bool Receiver::is_ours(const Tree& tree, const TreeNode& object, const ItemType& from_list) {
    const TreeNode* kind_node = peek(tree, &object, "kind");
    const std::string_view kind = kind_node == nullptr ? from_list.kind : peek_text(tree, &object, "kind");
    // What is no mapping at all is for decode_object() to say.
    if (kind == kind_name(kind_) || object.kind != NodeKind::kMapping) return true;
    const TreeNode* metadata = peek(tree, &object, "metadata");
    const std::string described =
        describe(kind, peek_text(tree, metadata, "namespace"), peek_text(tree, metadata, "name"));
    problem({{},
             0,
             described,
             "kind",
             kind.empty() ? std::string() : fmt::format("\"{}\"", printable(kind)),
             fmt::format("must be {}, for that was asked for; passed over", kind_name(kind_))});
    return false;
}

void Receiver::problem(Problem problem) { sink_.problem(std::move(problem)); }

}  // namespace ghostip::api::codec

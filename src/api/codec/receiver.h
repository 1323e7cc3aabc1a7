// What the readers of lists and watches hand their trees to: turns each into what StreamSink takes, and knows nothing
// of encodings. Single-threaded.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/codec/document.h"
#include "api/decode.h"
#include "api/stream.h"

namespace ghostip::api::codec {

// `ADDED`; nothing for a type that watches do not have.
[[nodiscard]] std::optional<EventType> event_type_of(std::string_view name);

// Of a v1 Status; nothing if the object is another.
[[nodiscard]] std::optional<Status> status_of(const Tree& tree, const TreeNode& object);

// `504 Timeout: Too large resource version`.
[[nodiscard]] std::string status_text(const Status& status);

class Receiver : private DecodeSink {
  public:
    // `kind` is that of the objects, also of those in a list.
    Receiver(Kind kind, StreamSink& sink);

    [[nodiscard]] Kind kind() const { return kind_; }
    // `ServiceList`, which stands in a list of `v1`.
    [[nodiscard]] const std::string& list_kind() const { return list_kind_; }
    // Why a body of this type is no list of ours; nothing if it is one.
    [[nodiscard]] std::optional<Error> check_list_type(std::string_view api_version, std::string_view kind) const;

    void item(const Tree& tree);
    void event(EventType type, const Tree& tree, const TreeNode& object);
    // An item, or an event's object, that could not be read to its end: the tree has what stood before. No object:
    // nothing of it could be read.
    void unreadable(EventType type, const Tree& tree, const TreeNode* object, std::string field, std::string message);

  private:
    void object(Decoded decoded) override { decoded_ = std::move(decoded.object); }
    void problem(Problem problem) override;

    void receive(EventType type, const Tree& tree, const TreeNode& object, const ItemType& from_list);
    void error_event(const Tree& tree, const TreeNode& object);
    // An event, but for its object.
    [[nodiscard]] Received named(EventType type, const Tree& tree, const TreeNode* object) const;
    // Of the kind that was asked for, or said to be another.
    [[nodiscard]] bool is_ours(const Tree& tree, const TreeNode& object, const ItemType& from_list);

    const Kind kind_;
    const std::string list_kind_;
    const ItemType items_;
    StreamSink& sink_;
    std::optional<Object> decoded_;  // of the object that is being decoded
};

}  // namespace ghostip::api::codec

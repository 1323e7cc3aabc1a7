// Lists and watches in JSON: the text of one item or event is held, then read by simdjson.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/codec/feed_buffer.h"
#include "api/codec/json_extent.h"
#include "api/codec/json_tree.h"
#include "api/codec/receiver.h"
#include "api/stream.h"

namespace ghostip::api::codec {

// The value that begins where the buffer does, as far as it has come.
class JsonValue {
  public:
    // Its text, once it is all there; then the next call begins with the next value. Empty: more is needed.
    [[nodiscard]] Result<std::string_view> take(std::string_view rest);

  private:
    JsonExtent extent_;
    std::size_t scanned_ = 0;
};

// Objects one after the other, with or without white space between them.
class JsonWatch : public WatchDecoder {
  public:
    JsonWatch(Kind kind, StreamSink& sink) : receiver_(kind, sink) {}
    [[nodiscard]] Result<void> feed(std::string_view bytes) override;
    [[nodiscard]] Result<void> finish() override;
    [[nodiscard]] std::size_t held_bytes() const { return buffer_.capacity(); }

  private:
    [[nodiscard]] Result<void> work();
    [[nodiscard]] Result<void> event(std::string_view text);

    Receiver receiver_;
    FeedBuffer buffer_;
    JsonValue value_;
    JsonTree json_;
    Tree tree_;
};

// The elements of `items` are read as they come, and cut out. What is left, with its members in whatever order, is read
// as one object at the end.
class JsonList : public ListDecoder {
  public:
    JsonList(Kind kind, StreamSink& sink) : receiver_(kind, sink) {}
    [[nodiscard]] Result<void> feed(std::string_view bytes) override;
    [[nodiscard]] Result<ListMeta> finish() override;
    [[nodiscard]] std::size_t held_bytes() const { return buffer_.capacity() + shell_.capacity(); }

  private:
    // What comes next, white space aside.
    enum class Next : std::uint8_t {
        kOpening,
        kKeyOrClosing,
        kKey,
        kColon,
        kValue,
        kMemberEnd,
        kElementOrClosing,
        kElement,
        kElementEnd,
        kNothing,
    };

    [[nodiscard]] Result<void> work();
    // Both say whether they came as far as to need no more bytes.
    [[nodiscard]] Result<bool> step(char first);
    [[nodiscard]] Result<bool> value();
    [[nodiscard]] Result<void> item(std::string_view text);
    [[nodiscard]] Result<void> whole();
    [[nodiscard]] Result<bool> wrong(std::string_view wanted);

    Receiver receiver_;
    FeedBuffer buffer_;
    Next next_ = Next::kOpening;
    JsonValue value_;
    std::string shell_;  // the list without its items
    std::string key_;    // of the member that is being read, in its quotes
    JsonTree json_;
    Tree tree_;
    ListMeta meta_;
};

}  // namespace ghostip::api::codec

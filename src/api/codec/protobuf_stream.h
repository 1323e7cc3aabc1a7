// Lists and watches in protobuf: the bytes of one item or event are held, then read where they lie.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "api/codec/feed_buffer.h"
#include "api/codec/protobuf_envelope.h"
#include "api/codec/receiver.h"
#include "api/stream.h"

namespace ghostip::api::codec {

// Frames: four bytes of length, the highest first, then a WatchEvent whose object is an envelope.
class ProtobufWatch : public WatchDecoder {
  public:
    ProtobufWatch(Kind kind, StreamSink& sink) : receiver_(kind, sink) {}
    [[nodiscard]] Result<void> feed(std::string_view bytes) override;
    [[nodiscard]] Result<void> finish() override;
    [[nodiscard]] std::size_t held_bytes() const { return buffer_.capacity(); }

  private:
    [[nodiscard]] Result<void> work();
    [[nodiscard]] Result<void> event(std::string_view frame);

    Receiver receiver_;
    FeedBuffer buffer_;
    Tree tree_;
};

// An envelope whose raw is {metadata 1, items 2, …}. Neither is ever held: their fields are taken one by one.
class ProtobufList : public ListDecoder {
  public:
    ProtobufList(Kind kind, StreamSink& sink) : receiver_(kind, sink) {}
    [[nodiscard]] Result<void> feed(std::string_view bytes) override;
    [[nodiscard]] Result<ListMeta> finish() override;
    [[nodiscard]] std::size_t held_bytes() const { return buffer_.capacity(); }

  private:
    // The beginning of a field.
    struct Head {
        std::uint32_t number = 0;
        bool has_length = false;  // it is text, bytes or a message, not a number
        std::size_t size = 0;     // of the head itself
        std::uint64_t body = 0;   // how many bytes follow
    };
    enum class List : std::uint8_t { kComes, kInside, kRead };

    [[nodiscard]] Result<void> work();
    // Whether a field was taken; else more bytes are needed.
    [[nodiscard]] Result<bool> field();
    // Nothing: it has not come yet.
    [[nodiscard]] Result<std::optional<Head>> head() const;
    [[nodiscard]] Result<bool> open_list(const Head& head);
    // Of the two levels.
    [[nodiscard]] Result<void> envelope_field(std::uint32_t number, std::string_view body);
    [[nodiscard]] Result<void> list_field(std::uint32_t number, std::string_view body);
    [[nodiscard]] Result<void> status(std::string_view body);
    [[nodiscard]] Result<void> type_known() const;

    Receiver receiver_;
    FeedBuffer buffer_;
    bool begun_ = false;  // the magic bytes are read
    List list_ = List::kComes;
    std::uint64_t left_ = 0;  // of the list, while inside
    std::uint64_t skip_ = 0;  // bytes of a field that nobody reads, to come
    std::size_t wanted_ = 0;  // how much must be there before looking again
    std::optional<std::string> api_version_;
    std::string kind_;
    Tree tree_;
    ListMeta meta_;
};

}  // namespace ghostip::api::codec

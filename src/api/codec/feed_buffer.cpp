#include "api/codec/feed_buffer.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>

namespace ghostip::api::codec {
namespace {

// Kept for what comes next; a larger object gives its memory back once it is used up.
constexpr std::size_t kKept = std::size_t{256} << 10U;

}  // namespace

FeedBuffer::FeedBuffer() : buffer_(simdjson::SIMDJSON_PADDING) {}

void FeedBuffer::add(std::string_view bytes) {
    const std::size_t held = end_ - begin_;
    const std::size_t capacity = buffer_.size() - simdjson::SIMDJSON_PADDING;
    if (held == 0) begin_ = end_ = 0;
    if (held == 0 && capacity > kKept) buffer_ = std::vector<char>(kKept + simdjson::SIMDJSON_PADDING);
    if (end_ + bytes.size() > buffer_.size() - simdjson::SIMDJSON_PADDING) {
        // To the front; into twice the room, if it would soon have to be moved again.
        const std::size_t needed = held + bytes.size();
        std::vector<char> larger;
        const bool grow = needed * 2 > capacity;
        if (grow) larger.resize(needed * 2 + simdjson::SIMDJSON_PADDING);
        std::memmove(grow ? larger.data() : buffer_.data(), buffer_.data() + begin_, held);
        if (grow) buffer_.swap(larger);
        begin_ = 0;
        end_ = held;
    }
    std::memcpy(buffer_.data() + end_, bytes.data(), bytes.size());
    end_ += bytes.size();
}

}  // namespace ghostip::api::codec

#include "api/codec/json_window.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "api/codec/json_extent.h"
#include "api/codec/tree.h"

namespace ghostip::api::codec {
namespace {

// Large enough that a system call costs nothing, small enough to stay in the cache.
constexpr std::size_t kWindow = std::size_t{256} << 10U;

bool is_space(char character) {
    return character == ' ' || character == '\n' || character == '\t' || character == '\r';
}

}  // namespace

JsonWindow::JsonWindow(ByteReader& reader) : reader_(reader), buffer_(kWindow + simdjson::SIMDJSON_PADDING) {}

bool JsonWindow::fill(std::size_t at) {
    while (at >= end_ - begin_) {
        if (ended_) return false;
        if (end_ - begin_ > kMaxObjectBytes) {  // one byte more than an object may have
            too_large_ = true;
            return false;
        }
        if (begin_ > 0) {
            std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
            end_ -= begin_;
            begin_ = 0;
        }
        const std::size_t capacity = buffer_.size() - simdjson::SIMDJSON_PADDING;
        if (end_ == capacity) buffer_.resize(std::min(capacity * 2, kMaxObjectBytes + 1) + simdjson::SIMDJSON_PADDING);
        const auto size =
            reader_.read(std::span(buffer_).subspan(end_, buffer_.size() - simdjson::SIMDJSON_PADDING - end_));
        if (!size) error_ = size.error();
        ended_ = !size || *size == 0;
        if (!ended_) end_ += *size;
    }
    return true;
}

void JsonWindow::drop(std::size_t size) {
    line_ = line_at(size);
    begin_ += size;
}

int JsonWindow::line_at(std::size_t at) const {
    const std::string_view before = front(std::min(at, end_ - begin_));
    return line_ + static_cast<int>(std::count(before.begin(), before.end(), '\n'));
}

std::size_t JsonWindow::skip_space(std::size_t at) {
    // A byte order mark can only stand at the front of the file; simdjson does not know it inside of an object.
    while (has(at) && is_space(this->at(at))) ++at;
    return at;
}

std::size_t JsonWindow::value_end(std::size_t at) {
    JsonExtent extent;
    while (has(at)) {
        at += extent.take(from(at));
        if (extent.complete()) return at;
    }
    return extent.is_scalar() && !too_large_ ? at : npos;
}

}  // namespace ghostip::api::codec

// Bytes that were fed and are not yet used up, for a reader that does not wait for more. Single-threaded.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ghostip::api::codec {

class FeedBuffer {
  public:
    FeedBuffer();

    // Calls work(), which uses up what it can of rest(), whenever there is more, in steps so small that whatever is fed
    // at once, little more is held than what work() leaves. Its error ends the stream: each later call returns it.
    template <typename Work>
    [[nodiscard]] Result<void> feed(std::string_view bytes, Work&& work);

    // Followed by as many readable bytes as simdjson wants (SIMDJSON_PADDING). Valid until drop() or feed().
    [[nodiscard]] std::string_view rest() const { return {buffer_.data() + begin_, end_ - begin_}; }
    void drop(std::size_t size) { begin_ += size; }

    [[nodiscard]] const std::optional<Error>& broken() const { return broken_; }
    // The memory that it takes.
    [[nodiscard]] std::size_t capacity() const { return buffer_.size(); }

  private:
    static constexpr std::size_t kStep = std::size_t{64} << 10U;

    void add(std::string_view bytes);

    std::vector<char> buffer_;  // SIMDJSON_PADDING longer than what is ever filled
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    std::optional<Error> broken_;
};

template <typename Work>
Result<void> FeedBuffer::feed(std::string_view bytes, Work&& work) {
    while (!bytes.empty() && !broken_) {
        const std::string_view step = bytes.substr(0, kStep);
        bytes.remove_prefix(step.size());
        add(step);
        if (Result<void> result = work(); !result) broken_ = std::move(result).error();
    }
    if (broken_) return *broken_;
    return {};
}

}  // namespace ghostip::api::codec

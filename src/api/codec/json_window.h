// A piece of a JSON text that slides over it: what has been read and not yet dropped. Single-threaded.
//
// Positions count from the front of the window; reading more keeps them, drop() moves them.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "api/byte_reader.h"
#include "base/result.h"

namespace ghostip::api::codec {

class JsonWindow {
  public:
    explicit JsonWindow(ByteReader& reader);

    // Whether there is a byte at `at`; reads as needed. An error of the reader ends the text and is kept in error().
    [[nodiscard]] bool has(std::size_t at) { return at < end_ - begin_ || fill(at); }
    // Of a byte that has() said is there.
    [[nodiscard]] char at(std::size_t at) const { return buffer_[begin_ + at]; }
    // What is there from `at` on without reading.
    [[nodiscard]] std::string_view from(std::size_t at) const {
        return {buffer_.data() + begin_ + at, end_ - begin_ - at};
    }
    // Followed by as many readable bytes as simdjson wants (SIMDJSON_PADDING).
    [[nodiscard]] std::string_view front(std::size_t size) const { return {buffer_.data() + begin_, size}; }
    void drop(std::size_t size);

    // The position of the first byte at or after `at` that is no white space; where the text ends if there is none.
    [[nodiscard]] std::size_t skip_space(std::size_t at);
    // Behind the value that begins at `at`, by its brackets and quotes alone; npos if the text ends inside of it, or
    // the limit of an object is reached.
    [[nodiscard]] std::size_t value_end(std::size_t at);

    [[nodiscard]] int line_at(std::size_t at) const;
    [[nodiscard]] const Result<void>& error() const { return error_; }
    [[nodiscard]] bool too_large() const { return too_large_; }

    static constexpr std::size_t npos = static_cast<std::size_t>(-1);

  private:
    [[nodiscard]] bool fill(std::size_t at);

    ByteReader& reader_;
    std::vector<char> buffer_;  // SIMDJSON_PADDING longer than what is ever filled
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    int line_ = 1;  // of begin_
    bool ended_ = false;
    bool too_large_ = false;
    Result<void> error_;
};

}  // namespace ghostip::api::codec

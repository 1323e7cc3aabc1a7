// Where a JSON value ends, by its brackets and quotes alone, in a text that comes piece by piece. Each byte is looked
// at once, however the text is cut. Whether it is JSON is for simdjson to say.
#pragma once

#include <cstddef>
#include <string_view>

namespace ghostip::api::codec {

class JsonExtent {
  public:
    // How many of these bytes, which follow those of the last call, belong to the value; all, until it is complete().
    [[nodiscard]] std::size_t take(std::string_view bytes);
    [[nodiscard]] bool complete() const { return complete_; }
    // A number or a word: only what follows it, or the end of the text, makes it complete. It may have no bytes.
    [[nodiscard]] bool is_scalar() const { return shape_ == Shape::kScalar; }

  private:
    enum class Shape : unsigned char { kUnknown, kString, kBrackets, kScalar };

    Shape shape_ = Shape::kUnknown;
    int depth_ = 0;
    bool in_string_ = false;
    bool escaped_ = false;  // the next byte of the string
    bool complete_ = false;
};

}  // namespace ghostip::api::codec

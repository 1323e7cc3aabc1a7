// Finds places in the text of one JSON object. simdjson is fast and says neither where a value stood nor where a
// text went wrong; this walks the text slowly, and only when there is something to report.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ghostip::api::codec {

// The offset of the value with this number; values are counted from 0 in the order in which they begin (a key is not a
// value). The length of the text if there is none.
[[nodiscard]] std::size_t find_value(std::string_view json, std::size_t number);

struct JsonFlaw {
    std::size_t offset = 0;
    std::string message;  // empty: no flaw was found
};

// Where the text first stops to be one JSON value.
[[nodiscard]] JsonFlaw find_flaw(std::string_view json);

}  // namespace ghostip::api::codec

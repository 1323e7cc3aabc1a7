// Text of any bytes as a literal that stays on its line.
#pragma once

#include <string>
#include <string_view>

namespace ghostip {

// Appends a JSON string (RFC 8259, section 7) with its quotation marks. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string& out, std::string_view text);
// Appends a literal in the way of Go's strconv.Quote, as klog writes it: bytes that are not UTF-8 become \x...
void append_go_string(std::string& out, std::string_view text);

}  // namespace ghostip

// How tests name what they run: a mode, or one variant of it, "iptables-legacy".
#pragma once

#include <string>

namespace ghostip::packets {

struct ModeText {
    std::string mode;     // as --proxy-mode takes it
    std::string variant;  // empty: the mode has none, or the program shall choose

    explicit ModeText(const std::string& text)
        : mode(text.substr(0, text.find('-'))),
          variant(text.find('-') == std::string::npos ? "" : text.substr(text.find('-') + 1)) {}
};

}  // namespace ghostip::packets

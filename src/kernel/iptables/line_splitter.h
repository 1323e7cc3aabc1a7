// Makes lines of a text that comes in pieces.
#pragma once

#include <string>
#include <string_view>

namespace ghostip::kernel::iptables {

class LineSplitter {
  public:
    // Hands each line that is complete, without its end, to `take`.
    template <typename Take>
    void feed(std::string_view piece, const Take& take) {
        for (auto end = piece.find('\n'); end != std::string_view::npos; end = piece.find('\n')) {
            if (rest_.empty()) {
                take(piece.substr(0, end));
            } else {
                rest_.append(piece.substr(0, end));
                take(std::string_view(rest_));
                rest_.clear();
            }
            piece.remove_prefix(end + 1);
        }
        rest_.append(piece);
    }
    // What is left at the end of the text: a line without its end.
    template <typename Take>
    void finish(const Take& take) {
        if (!rest_.empty()) take(std::string_view(rest_));
        rest_.clear();
    }

  private:
    std::string rest_;
};

}  // namespace ghostip::kernel::iptables

#include "api/codec/json_walk.h"

#include <cctype>

#include "api/codec/tree.h"
#include "api/problem.h"

#include <fmt/format.h>

namespace ghostip::api::codec {
namespace {

class Walk {
  public:
    Walk(std::string_view text, std::size_t wanted) : text_(text), wanted_(wanted) {}

    void run() {
        value(0);
        space();
        if (!over() && at_ < text_.size()) flaw("there is text behind the end of the value");
    }

    [[nodiscard]] std::size_t found() const { return found_; }
    [[nodiscard]] const JsonFlaw& flaw() const { return flaw_; }

  private:
    [[nodiscard]] bool over() const { return !flaw_.message.empty() || found_ != std::string_view::npos; }
    [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    void flaw(std::string message) {
        if (over()) return;
        if (at_ >= text_.size()) message = "the text ends too early";
        flaw_ = {at_, std::move(message)};
    }

    void space() {
        while (at_ < text_.size() &&
               (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
            ++at_;
    }

    bool take(char character) {
        space();
        if (peek() != character || at_ >= text_.size()) return false;
        ++at_;
        return true;
    }

    void value(int depth) {
        space();
        if (seen_++ == wanted_) found_ = at_;
        if (over()) return;
        if (depth > kMaxDepth) return flaw(fmt::format("it is nested more than {} deep", kMaxDepth));
        if (peek() == '{') return members(depth);
        if (peek() == '[') return elements(depth);
        if (peek() == '"') return string();
        scalar();
    }

    void members(int depth) {
        ++at_;
        if (take('}')) return;
        while (!over()) {
            space();
            if (peek() != '"') return flaw("a key in quotes is expected here");
            string();
            if (over()) return;
            if (!take(':')) return flaw("a : is expected here");
            value(depth + 1);
            if (over() || take('}')) return;
            if (!take(',')) return flaw("a , or } is expected here");
        }
    }

    void elements(int depth) {
        ++at_;
        if (take(']')) return;
        while (!over()) {
            value(depth + 1);
            if (over() || take(']')) return;
            if (!take(',')) return flaw("a , or ] is expected here");
        }
    }

    void string() {
        for (++at_; at_ < text_.size(); ++at_) {
            const char character = text_[at_];
            if (character == '"') {
                ++at_;
                return;
            }
            if (static_cast<unsigned char>(character) < 0x20) return flaw("a control character stands in a string");
            if (character == '\\' && ++at_ < text_.size() &&
                std::string_view("\"\\/bfnrtu").find(text_[at_]) == std::string_view::npos)
                return flaw("an unknown escape stands in a string");
        }
        flaw("the string has no end");
    }

    void scalar() {
        const std::size_t start = at_;
        while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '+' ||
                                      text_[at_] == '-' || text_[at_] == '.'))
            ++at_;
        const std::string_view word = text_.substr(start, at_ - start);
        if (word == "true" || word == "false" || word == "null") return;
        if (!word.empty() && (word[0] == '-' || (word[0] >= '0' && word[0] <= '9'))) return;
        at_ = start;
        flaw(word.empty() ? "a value is expected here" : fmt::format("\"{}\" is not a value", printable(word)));
    }

    const std::string_view text_;
    const std::size_t wanted_;
    std::size_t at_ = 0;
    std::size_t seen_ = 0;
    std::size_t found_ = std::string_view::npos;
    JsonFlaw flaw_;
};

}  // namespace

std::size_t find_value(std::string_view json, std::size_t number) {
    Walk walk(json, number);
    walk.run();
    return walk.found() == std::string_view::npos ? json.size() : walk.found();
}

JsonFlaw find_flaw(std::string_view json) {
    Walk walk(json, std::string_view::npos);
    walk.run();
    return walk.flaw();
}

}  // namespace ghostip::api::codec

#include "cli/json_text.h"

#include <fmt/format.h>

namespace ghostip::cli {

void JsonText::separate() {
    if (after_key_) {
        after_key_ = false;
        return;
    }
    if (has_members_.empty()) return;
    if (has_members_.back()) text_ += ',';
    has_members_.back() = true;
    text_ += '\n';
    text_.append(has_members_.size() * 2, ' ');
}

void JsonText::quote(std::string_view text) {
    text_ += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            text_ += '\\';
            text_ += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            text_ += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        } else {
            text_ += c;
        }
    }
    text_ += '"';
}

void JsonText::open(char bracket) {
    separate();
    text_ += bracket;
    has_members_.push_back(false);
}

void JsonText::close(char bracket) {
    const bool had_members = has_members_.back();
    has_members_.pop_back();
    if (had_members) {
        text_ += '\n';
        text_.append(has_members_.size() * 2, ' ');
    }
    text_ += bracket;
}

void JsonText::key(std::string_view name) {
    separate();
    quote(name);
    text_ += ": ";
    after_key_ = true;
}

void JsonText::item(std::string_view text) {
    separate();
    quote(text);
}

void JsonText::field(std::string_view name, std::string_view value) {
    key(name);
    after_key_ = false;
    quote(value);
}

void JsonText::number(std::string_view name, double value) {
    key(name);
    after_key_ = false;
    text_ += fmt::format("{}", value);
}

void JsonText::boolean(std::string_view name, bool value) {
    key(name);
    after_key_ = false;
    text_ += value ? "true" : "false";
}

}  // namespace ghostip::cli

#include "agent/config/document_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <numeric>

#include <fmt/format.h>

#include "api/codec/yaml_scalar.h"

namespace ghostip::agent::config {
namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// The code point at `at`, which moves behind it; U+FFFD for a byte that is no UTF-8.
std::uint32_t next_code_point(std::string_view text, std::size_t& at) {
    constexpr std::uint32_t kReplacement = 0xfffd;
    const auto first = static_cast<unsigned char>(text[at++]);
    if (first < 0x80) return first;
    const std::size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    constexpr std::array<std::uint32_t, 4> kLeast{0, 0x80, 0x800, 0x10000};  // for so many bytes more
    if (first < 0xc2 || first > 0xf4 || text.size() - at < more) return kReplacement;
    std::uint32_t code = first & (0x3fU >> more);
    for (std::size_t i = 0; i < more; ++i) {
        const auto byte = static_cast<unsigned char>(text[at + i]);
        if ((byte & 0xc0U) != 0x80) return kReplacement;
        code = (code << 6U) | (byte & 0x3fU);
    }
    if (code < kLeast[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return kReplacement;
    at += more;
    return code;
}

// What lies beyond ASCII: JSON takes it as it is; YAML does not take all of it, and reads some as line breaks.
enum class Beyond : std::uint8_t { kAsItIs, kEscaped };

std::string in_double_quotes(std::string_view text, Beyond beyond) {
    std::string out = "\"";
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t begin = at;
        const std::uint32_t code = next_code_point(text, at);
        const bool html = code == '<' || code == '>' || code == '&';  // escaped as Go does
        if (code == '"' || code == '\\')
            (out += '\\') += static_cast<char>(code);
        else if (code == '\n')
            out += "\\n";
        else if (code == '\r')
            out += "\\r";
        else if (code == '\t')
            out += "\\t";
        else if (code < 0x20 || code == 0x7f || html || code == 0xfffd)
            out += fmt::format("\\u{:04x}", code);
        else if (code < 0x80 || beyond == Beyond::kAsItIs)
            out += text.substr(begin, at - begin);
        else
            out += code <= 0xffff ? fmt::format("\\u{:04x}", code) : fmt::format("\\U{:08x}", code);
    }
    return out + '"';
}

// Whether a YAML parser takes the text, unquoted, for one scalar: no indicator in front, nothing that begins a comment
// or ends a key, no space at the ends. What lies beyond ASCII may hold line breaks of Unicode.
bool fits_plain(std::string_view text) {
    constexpr std::string_view kIndicators = "-?:,[]{}#&*!|>'\"%@`=<";
    if (text.front() == ' ' || text.back() == ' ' || text.back() == ':') return false;
    if (kIndicators.find(text.front()) != std::string_view::npos) return false;
    if (text.find(": ") != std::string_view::npos || text.find(" #") != std::string_view::npos) return false;
    return text.find_first_of(",[]{}") == std::string_view::npos || text.find(' ') == std::string_view::npos;
}

}  // namespace

std::string json_string(std::string_view text) { return in_double_quotes(text, Beyond::kAsItIs); }

std::string yaml_scalar(std::string_view text) {
    const bool escapes = std::any_of(text.begin(), text.end(),
                                     [](char c) { return is_control(c) || static_cast<unsigned char>(c) >= 0x80; });
    if (escapes) return in_double_quotes(text, Beyond::kEscaped);
    const bool is_text = !text.empty() && api::codec::read_plain_scalar(text).kind == api::codec::NodeKind::kString;
    if (!is_text) return fmt::format("\"{}\"", text);  // `true`, `1`: what needs no escape in quotes
    if (fits_plain(text)) return std::string(text);
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
    return out + '\'';
}

void DocumentValue::add(DocumentValue value) { children_.push_back(std::move(value)); }

void DocumentValue::add(std::string_view key, DocumentValue value) {
    keys_.emplace_back(key);
    children_.push_back(std::move(value));
}

void DocumentValue::add_all(DocumentValue mapping) {
    for (std::size_t i = 0; i < mapping.children_.size(); ++i) add(mapping.keys_[i], std::move(mapping.children_[i]));
}

bool DocumentValue::is_block() const { return (kind_ == Kind::kList || kind_ == Kind::kMapping) && !children_.empty(); }

std::string DocumentValue::yaml() const {
    std::string out;
    write_yaml(out, 0);
    return out;
}

// A block begins where a line begins; a scalar ends its line.
void DocumentValue::write_yaml(std::string& out, std::size_t indent) const {
    switch (kind_) {
        case Kind::kPlain: out += scalar_ + "\n"; return;
        case Kind::kText: out += yaml_scalar(scalar_) + "\n"; return;
        case Kind::kList: {
            if (children_.empty()) out += "[]\n";
            for (const auto& child : children_) {
                out.append(indent, ' ');
                out += "- ";
                // The first key of a mapping stands behind the dash.
                std::string inner;
                child.write_yaml(inner, indent + 2);
                out += child.is_block() ? inner.substr(indent + 2) : inner;
            }
            return;
        }
        case Kind::kMapping: {
            if (children_.empty()) out += "{}\n";
            std::vector<std::size_t> order(children_.size());
            std::iota(order.begin(), order.end(), std::size_t{0});
            std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return keys_[a] < keys_[b]; });
            for (const auto at : order) {
                const auto& child = children_[at];
                out.append(indent, ' ');
                out += yaml_scalar(keys_[at]) + ":";
                out += child.is_block() ? "\n" : " ";
                child.write_yaml(out, child.kind_ == Kind::kMapping ? indent + 2 : indent);
            }
            return;
        }
    }
}

std::string DocumentValue::json() const {
    std::string out;
    write_json(out);
    return out;
}

void DocumentValue::write_json(std::string& out) const {
    if (kind_ == Kind::kPlain || kind_ == Kind::kText) {
        out += kind_ == Kind::kPlain ? scalar_ : json_string(scalar_);
        return;
    }
    const bool mapping = kind_ == Kind::kMapping;
    out += mapping ? '{' : '[';
    for (std::size_t i = 0; i < children_.size(); ++i) {
        if (i > 0) out += ',';
        if (mapping) out += json_string(keys_[i]) + ":";
        children_[i].write_json(out);
    }
    out += mapping ? '}' : ']';
}

std::vector<std::pair<std::string, std::string>> DocumentValue::leaves() const {
    std::vector<std::pair<std::string, std::string>> all;
    add_leaves({}, all);
    return all;
}

void DocumentValue::add_leaves(const std::string& path,
                               std::vector<std::pair<std::string, std::string>>& leaves) const {
    if (kind_ != Kind::kMapping) {
        leaves.emplace_back(path, json());
        return;
    }
    for (std::size_t i = 0; i < children_.size(); ++i)
        children_[i].add_leaves(path.empty() ? keys_[i] : path + "." + keys_[i], leaves);
}

}  // namespace ghostip::agent::config

#include "source/kubernetes/pem.h"

#include <array>
#include <cstdint>

namespace ghostip::source::kubernetes {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kBegin = "-----BEGIN ";
constexpr std::string_view kDashes = "-----";

}  // namespace

Result<std::string> decode_base64(std::string_view text) {
    std::string bytes;
    bytes.reserve(text.size() / 4 * 3);
    std::uint32_t bits = 0;
    int digits = 0;   // of the group of four
    int padding = 0;  // seen so far
    for (const char character : text) {
        if (character == '\n' || character == '\r') continue;
        const std::size_t value = kAlphabet.find(character);
        if (character == '=' && digits >= 2) {
            ++padding;
        } else if (value == std::string_view::npos || padding > 0) {
            return fail("is not base64");
        }
        bits = bits << 6U | static_cast<std::uint32_t>(character == '=' ? 0 : value);
        if (++digits < 4) continue;
        for (int byte = 0; byte < 3 - padding; ++byte)
            bytes += static_cast<char>(bits >> static_cast<unsigned>(16 - 8 * byte) & 0xffU);
        bits = 0;
        digits = 0;
    }
    if (digits != 0) return fail("is not base64: its length is no multiple of four");
    return bytes;
}

std::string encode_base64(std::string_view bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < 3; ++i)
            bits = bits << 8U | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0U);
        for (std::size_t i = 0; i < 4; ++i)
            text += i <= count ? kAlphabet[bits >> static_cast<unsigned>(18 - 6 * i) & 0x3fU] : '=';
    }
    return text;
}

bool has_pem_block(std::string_view text, std::string_view kind) {
    for (std::size_t at = text.find(kBegin); at != std::string_view::npos; at = text.find(kBegin, at + 1)) {
        const std::size_t label_at = at + kBegin.size();
        const std::size_t label_end = text.find(kDashes, label_at);
        if (label_end == std::string_view::npos) return false;
        const std::string_view label = text.substr(label_at, label_end - label_at);
        if (!label.ends_with(kind)) continue;
        const std::size_t body = label_end + kDashes.size();
        const std::size_t end = text.find("-----END " + std::string(label) + std::string(kDashes), body);
        if (end == std::string_view::npos) continue;
        std::string_view content = text.substr(body, end - body);
        // Headers (of keys from old tools) end with an empty line.
        if (const std::size_t empty = content.find("\n\n", 1);
            content.find(':') < empty && empty != std::string_view::npos)
            content.remove_prefix(empty);
        const auto decoded = decode_base64(content);
        if (decoded && !decoded->empty()) return true;
    }
    return false;
}

}  // namespace ghostip::source::kubernetes

// The name of a chain as a few numbers: a large node has a hundred thousand of them, which are sorted and looked up
// without touching a string. Ordered as the names are, byte by byte.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/iptables/iptables.h"

namespace ghostip::dataplane::iptables {

class ChainId {
  public:
    // Absent: longer than any that iptables takes.
    [[nodiscard]] static std::optional<ChainId> of(std::string_view name) {
        if (name.size() > kLongest) return std::nullopt;
        ChainId id;
        for (std::size_t i = 0; i < name.size(); ++i)
            id.words_[i / kWord] |= std::uint32_t{static_cast<unsigned char>(name[i])} << shift(i);
        return id;
    }
    [[nodiscard]] std::string name() const {
        std::string text;
        for (std::size_t i = 0; i < kLongest; ++i)
            if (const auto byte = words_[i / kWord] >> shift(i) & 0xffU; byte != 0) text += static_cast<char>(byte);
        return text;
    }

    friend auto operator<=>(const ChainId&, const ChainId&) = default;

  private:
    static constexpr std::size_t kLongest = kernel::iptables::kLongestChain;
    static constexpr std::size_t kWord = sizeof(std::uint32_t);
    [[nodiscard]] static constexpr unsigned shift(std::size_t i) {
        return static_cast<unsigned>(8 * (kWord - 1 - i % kWord));
    }

    ChainId() = default;

    std::array<std::uint32_t, kLongest / kWord> words_{};  // the first character stands highest
};

}  // namespace ghostip::dataplane::iptables

// The name of a chain without a string: a large node has a hundred thousand of them, which are sorted and looked up in
// one piece of memory. Ordered as the names are, byte by byte.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "kernel/iptables/iptables.h"

namespace ghostip::dataplane::iptables {

class ChainId {
  public:
    // Absent: longer than any that iptables takes.
    [[nodiscard]] static std::optional<ChainId> of(std::string_view name) {
        ChainId id;
        if (name.size() > id.bytes_.size()) return std::nullopt;
        std::copy(name.begin(), name.end(), id.bytes_.begin());
        return id;
    }
    [[nodiscard]] std::string name() const { return {bytes_.begin(), std::find(bytes_.begin(), bytes_.end(), '\0')}; }

    friend bool operator==(const ChainId& a, const ChainId& b) { return compare(a, b) == 0; }
    friend bool operator<(const ChainId& a, const ChainId& b) { return compare(a, b) < 0; }

  private:
    ChainId() = default;
    [[nodiscard]] static int compare(const ChainId& a, const ChainId& b) {
        return std::memcmp(a.bytes_.data(), b.bytes_.data(), a.bytes_.size());
    }

    std::array<char, kernel::iptables::kLongestChain> bytes_{};  // zeros at the end
};

}  // namespace ghostip::dataplane::iptables

#include "kernel/iptables/versions.h"

#include <array>
#include <charconv>

namespace ghostip::kernel::iptables {
namespace {

constexpr Version kWaits{1, 4, 20};
constexpr Version kWaitsForSeconds{1, 4, 22};
constexpr Version kRestoreWaitsForSeconds{1, 6, 2};
constexpr Version kRandomFully{1, 6, 2};

}  // namespace

std::optional<Version> parse_version(std::string_view text) {
    const auto start = text.find(" v");
    if (start == std::string_view::npos) return std::nullopt;
    const char* at = text.data() + start + 2;
    const char* const end = text.data() + text.size();
    std::array<int, 3> numbers{};
    for (std::size_t part = 0; part < numbers.size(); ++part) {
        const auto [next, code] = std::from_chars(at, end, numbers[part]);
        if (code != std::errc{} || numbers[part] < 0) return std::nullopt;
        at = next;
        if (at == end || *at != '.') {
            if (part == 0) return std::nullopt;
            break;
        }
        ++at;
    }
    return Version{numbers[0], numbers[1], numbers[2]};
}

Variant parse_variant(std::string_view text) {
    return text.find("(nf_tables)") == std::string_view::npos ? Variant::kLegacy : Variant::kNft;
}

std::vector<std::string> wait_flags(Version version) {
    if (version >= kWaitsForSeconds) return {"-w", "5"};
    if (version >= kWaits) return {"-w"};
    return {};
}

RestoreWait restore_wait(Version version, bool answers_version) {
    if (version >= kRestoreWaitsForSeconds) return {{"-w", "5"}, false};
    if (answers_version) return {{"-w"}, false};
    return {{}, true};
}

bool has_random_fully(Version version) { return version >= kRandomFully; }

}  // namespace ghostip::kernel::iptables

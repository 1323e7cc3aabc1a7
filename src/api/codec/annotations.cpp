// Annotations of ghostip's own: text that people write by hand, and that no API server checks.
#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "api/codec/object_decoder.h"
#include "api/codec/values.h"

namespace ghostip::api::codec {
namespace {

constexpr std::uint32_t kMostWeight = 65535;

// Whoever may write a Service says this name, and the kernel loads the module ip_vs_<name> for it: there are some that
// are no schedulers (ip_vs_ftp). docs/annotations.md has the list.
constexpr std::array<std::string_view, 13> kSchedulers{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh",
                                                       "dh", "sed", "nq", "mh",  "fo",   "ovf"};

bool is_scheduler_name(std::string_view name) {
    return std::find(kSchedulers.begin(), kSchedulers.end(), name) != kSchedulers.end();
}

std::optional<EndpointWeight> parse_weight(std::string_view entry) {
    const auto equals = entry.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const auto address = net::IpAddress::parse_lenient(trimmed(entry.substr(0, equals)));
    const auto number = trimmed(entry.substr(equals + 1));
    EndpointWeight weight;
    const char* const end = number.data() + number.size();
    const auto read = std::from_chars(number.data(), end, weight.weight);
    if (!address || read.ec != std::errc() || read.ptr != end || weight.weight > kMostWeight) return std::nullopt;
    weight.address = *address;
    return weight;
}

}  // namespace

std::string scheduler_of(const Source& source) {
    const Field annotations = source.metadata.mapping("annotations");
    const Field field = annotations.member(kSchedulerAnnotation);
    const auto name = trimmed(field.text().value_or(""));
    if (name.empty()) return {};
    if (is_scheduler_name(name)) return std::string(name);
    field.notice(fmt::format("is not one of the schedulers {}; the node's is used", fmt::join(kSchedulers, ", ")));
    return {};
}

std::vector<EndpointWeight> endpoint_weights_of(const Source& source) {
    const Field annotations = source.metadata.mapping("annotations");
    const Field field = annotations.member(kWeightsAnnotation);
    std::vector<EndpointWeight> weights;
    std::string wrong;
    std::string_view rest = field.text().value_or("");
    while (!rest.empty()) {
        const auto comma = std::min(rest.find(','), rest.size());
        const auto entry = trimmed(rest.substr(0, comma));
        rest.remove_prefix(std::min(comma + 1, rest.size()));
        if (entry.empty()) continue;
        if (const auto weight = parse_weight(entry))
            weights.push_back(*weight);
        else if (wrong.empty())
            wrong = entry;
    }
    if (!wrong.empty())
        field.notice(fmt::format("{} is not ADDRESS=WEIGHT with a weight from 0 to {}; what is not is left out",
                                 printable(wrong), kMostWeight));
    // Of an address that is there twice the last word counts.
    std::reverse(weights.begin(), weights.end());
    const auto by_address = [](const auto& a, const auto& b) { return a.address < b.address; };
    std::stable_sort(weights.begin(), weights.end(), by_address);
    weights.erase(std::unique(weights.begin(), weights.end(),
                              [](const auto& a, const auto& b) { return a.address == b.address; }),
                  weights.end());
    weights.shrink_to_fit();
    return weights;
}

std::uint8_t proxy_protocol_of(const Source& source) {
    const Field annotations = source.metadata.mapping("annotations");
    const Field field = annotations.member(kProxyProtocolAnnotation);
    const auto version = trimmed(field.text().value_or(""));
    if (version.empty()) return 0;
    if (version == "v1") return 1;
    if (version == "v2") return 2;
    field.notice("is neither v1 nor v2; endpoints get no header");
    return 0;
}

}  // namespace ghostip::api::codec

#include "api/codec/values.h"

namespace ghostip::api::codec {
namespace {

template <typename T>
std::optional<T> parsed(const Field& field, Unparsable unparsable, std::optional<T> (*parse)(std::string_view),
                        std::string_view what) {
    const auto text = field.text();
    if (!text) return std::nullopt;
    const bool skip = unparsable == Unparsable::kIsSkipped;
    // Only where entries are skipped does kube-proxy trim them first.
    const std::string_view value = skip ? trimmed(*text) : *text;
    if (skip && value.empty()) return std::nullopt;
    const auto result = parse(value);
    if (result) return result;
    std::string message = "is not ";
    message += what;
    if (skip)
        field.notice(message + "; left out");
    else
        field.error(message);
    return std::nullopt;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kSpace = " \t\r\n\v\f";
    const auto first = text.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::optional<net::IpAddress> address_of(const Field& field, Unparsable unparsable) {
    return parsed(field, unparsable, net::IpAddress::parse_lenient, "an IP address");
}

std::optional<net::Prefix> range_of(const Field& field, Unparsable unparsable) {
    return parsed(field, unparsable, net::Prefix::parse_lenient, "an address range (for example 10.0.0.0/8)");
}

net::Protocol protocol_of(const Field& field) {
    return field.choice<net::Protocol>(
        {{"TCP", net::Protocol::kTcp}, {"UDP", net::Protocol::kUdp}, {"SCTP", net::Protocol::kSctp}},
        net::Protocol::kTcp);
}

}  // namespace ghostip::api::codec

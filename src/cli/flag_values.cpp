// What flags are bound to: the types of pflag that kube-proxy uses, with Go's words for what is wrong.
#include <limits>

#include "agent/config/validate.h"
#include "cli/flag_set.h"
#include "net/address.h"

namespace ghostip::cli {
namespace {

namespace config = agent::config;
using config::quoted;

// A value that one function of the text gives.
template <typename T, typename Parse, typename Print>
FlagValue parsed_value(std::string type, T& value, Parse parse, Print print) {
    return {std::move(type),
            {},
            [&value, parse](const std::string& text) -> Result<void> {
                ASSIGN_OR_RETURN(auto parsed, parse(text));
                value = std::move(parsed);
                return {};
            },
            [&value, print] { return print(value); }};
}

template <typename Bool>
FlagValue any_bool(Bool& value) {
    auto bound = parsed_value("", value, config::parse_bool, [](const Bool& flag) {
        return std::string(std::optional<bool>(flag).value_or(false) ? "true" : "false");
    });
    bound.alone = "true";
    return bound;
}

template <typename Int>
FlagValue any_int(Int& value) {
    const auto parse = [](const std::string& text) -> Result<std::int32_t> {
        using Limits = std::numeric_limits<std::int32_t>;
        ASSIGN_OR_RETURN(const auto number, config::parse_integer(text, Limits::min(), Limits::max()));
        return static_cast<std::int32_t>(number);
    };
    return parsed_value("int32", value, parse, [](const Int& number) {
        return fmt::format("{}", std::optional<std::int32_t>(number).value_or(0));
    });
}

template <typename T>
FlagValue any_duration(T& value) {
    return parsed_value("duration", value, config::parse_duration, [](const T& duration) {
        return config::duration_text(std::optional<config::Duration>(duration).value_or(config::Duration(0)));
    });
}

std::string list_text(const std::vector<std::string>& values) { return "[" + config::join(values, ",") + "]"; }

std::string vmodule_text(const std::vector<config::VmoduleItem>& items) {
    std::string text;
    for (const auto& item : items)
        text += fmt::format("{}{}={}", text.empty() ? "" : ",", item.file_pattern, item.verbosity);
    return text;
}

Result<std::vector<config::VmoduleItem>> parse_vmodule(const std::string& text) {
    std::vector<config::VmoduleItem> items;
    for (const auto& pair : config::split(text, ',')) {
        if (pair.empty()) continue;
        const auto equals = pair.find('=');
        if (equals == std::string::npos || equals == 0 || pair.find('=', equals + 1) != std::string::npos)
            return fail("{} does not have the pattern=N format", quoted(pair));
        const auto number = pair.substr(equals + 1);
        const auto level = config::parse_integer(number, 0, std::numeric_limits<std::int32_t>::max());
        if (!level) return fail("parsing verbosity in {}: {}", quoted(pair), level.error().message);
        items.push_back({pair.substr(0, equals), static_cast<std::uint32_t>(*level)});
    }
    return items;
}

Result<void> check_ip_port(const std::string& text) {
    if (net::IpAddress::parse_lenient(text)) return {};
    const auto parts = config::split_host_port(text);
    if (!parts) return fail("{} is not in a valid format (ip or ip:port)", quoted(text));
    if (!net::IpAddress::parse_lenient(parts->host)) return fail("{} is not a valid IP address", quoted(parts->host));
    constexpr std::int64_t kHighestPort = 65535;
    if (!config::parse_integer(parts->port, 0, kHighestPort))
        return fail("{} is not a valid number", quoted(parts->port));
    return {};
}

}  // namespace

FlagValue string_value(std::string& value, std::string type) {
    return parsed_value(
        std::move(type), value, [](const std::string& text) { return Result<std::string>(text); },
        [](const std::string& text) { return text; });
}

FlagValue bool_value(bool& value) { return any_bool(value); }
FlagValue bool_value(std::optional<bool>& value) { return any_bool(value); }
FlagValue int_value(std::int32_t& value) { return any_int(value); }
FlagValue int_value(std::optional<std::int32_t>& value) { return any_int(value); }
FlagValue duration_value(config::Duration& value) { return any_duration(value); }
FlagValue duration_value(std::optional<config::Duration>& value) { return any_duration(value); }

FlagValue uint_value(std::uint32_t& value, std::uint32_t least, std::uint32_t most) {
    const auto parse = [least, most](const std::string& text) -> Result<std::uint32_t> {
        ASSIGN_OR_RETURN(const auto number, config::parse_integer(text, 0, std::numeric_limits<std::int64_t>::max()));
        if (number < least || number > most) return fail("must be from {} to {}", least, most);
        return static_cast<std::uint32_t>(number);
    };
    return parsed_value("uint32", value, parse, [](std::uint32_t number) { return fmt::format("{}", number); });
}

FlagValue float_value(float& value) { return parsed_value("float32", value, config::parse_float, config::float_text); }

// The first flag replaces what was there, the others add to it.
FlagValue list_value(std::vector<std::string>& value) {
    return {"strings",
            {},
            [&value, first = true](const std::string& text) mutable -> Result<void> {
                if (first) value.clear();
                first = false;
                if (text.empty()) return {};
                for (auto& part : config::split(text, ',')) value.push_back(std::move(part));
                return {};
            },
            [&value] { return list_text(value); }};
}

FlagValue gates_value(config::GateSettings& value) {
    return {"mapStringBool",
            {},
            [&value](const std::string& text) { return config::parse_gates(text, value); },
            [&value] { return config::gates_text(value); }};
}

FlagValue vmodule_value(std::vector<config::VmoduleItem>& value) {
    return parsed_value("pattern=N,...", value, parse_vmodule, vmodule_text);
}

FlagValue quantity_value(config::Quantity& value) {
    return parsed_value("quantity", value, config::parse_quantity,
                        [](const config::Quantity& quantity) { return quantity.text; });
}

FlagValue ip_value(std::string& value) {
    return {"ip",
            {},
            [&value](const std::string& text) -> Result<void> {
                if (text.empty()) return {};
                if (!net::IpAddress::parse_lenient(text)) return fail("{} is not a valid IP address", quoted(text));
                value = text;
                return {};
            },
            [&value] { return value; }};
}

FlagValue ip_port_value(std::string& value, bool* emptied) {
    return {"ipport",
            {},
            [&value, emptied](const std::string& text) -> Result<void> {
                if (emptied != nullptr) *emptied = text.empty();
                if (text.empty()) return {};
                RETURN_IF_ERROR(check_ip_port(text));
                value = text;
                return {};
            },
            [&value] { return value; }};
}

}  // namespace ghostip::cli

#include "agent/config/encode.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "agent/config/defaults.h"
#include "agent/config/document_text.h"

namespace ghostip::agent::config {
namespace {

template <typename T>
concept Section = requires(const T& section) {
    T::fields(section, [](auto&&...) {});
};

DocumentValue value_of(const std::string& text) { return DocumentValue::text(text); }
DocumentValue value_of(bool flag) { return DocumentValue::plain(flag ? "true" : "false"); }
DocumentValue value_of(float number) { return DocumentValue::plain(float_text(number)); }
DocumentValue value_of(Duration duration) { return DocumentValue::text(duration_text(duration)); }
DocumentValue value_of(const MinSyncPeriod& period) { return value_of(period.named.value_or(Duration(0))); }
DocumentValue value_of(const Quantity& quantity) { return DocumentValue::text(quantity.text); }

DocumentValue value_of(const FlushFrequency& frequency) {
    return frequency.as_number ? DocumentValue::plain(fmt::format("{}", frequency.duration.count()))
                               : value_of(frequency.duration);
}

template <typename T>
requires(std::is_integral_v<T> && !std::is_same_v<T, bool>) DocumentValue value_of(T number) {
    return DocumentValue::plain(fmt::format("{}", number));
}

template <typename T>
DocumentValue value_of(const std::optional<T>& value) {
    return value ? value_of(*value) : DocumentValue::null();
}

template <Section T>
DocumentValue value_of(const T& section);

template <typename T>
DocumentValue value_of(const std::vector<T>& values) {
    if (values.empty()) return DocumentValue::null();  // as a slice of Go that nobody filled
    DocumentValue list = DocumentValue::list();
    for (const auto& value : values) list.add(value_of(value));
    return list;
}

DocumentValue value_of(const GateSettings& gates) {
    DocumentValue mapping = DocumentValue::mapping();
    for (const auto& [name, enabled] : gates) mapping.add(name, value_of(enabled));
    return mapping;
}

template <typename T>
requires std::is_same_v<T, bool>
bool is_empty(const T& value) { return !value; }
template <typename T>
requires requires(const T& value) { value.empty(); }
bool is_empty(const T& value) { return value.empty(); }

template <Section T>
DocumentValue value_of(const T& section) {
    DocumentValue mapping = DocumentValue::mapping();
    T::fields(section, [&]<typename V>(std::string_view name, const V& value, Empty empty = Empty::kWritten) {
        if constexpr (requires { is_empty(value); })
            if (empty == Empty::kLeftOut && is_empty(value)) return;
        mapping.add(name, value_of(value));
    });
    return mapping;
}

// What one effective value cannot say of the other modes.
KubeProxyConfiguration with_one_mode(KubeProxyConfiguration config) {
    const auto period = sync_period(config);
    const auto pause = min_sync_period(config);
    const bool all = masquerade_all(config);
    for (auto* section_period : {&config.iptables.sync_period, &config.ipvs.sync_period, &config.nftables.sync_period})
        *section_period = Duration(0);
    for (auto* section_pause :
         {&config.iptables.min_sync_period, &config.ipvs.min_sync_period, &config.nftables.min_sync_period})
        *section_pause = {};
    config.iptables.masquerade_all = false;
    config.nftables.masquerade_all = false;
    sync_period(config) = period;
    min_sync_period(config) = pause;
    masquerade_all(config) = all;
    return config;
}

DocumentValue document(const KubeProxyConfiguration& config) {
    DocumentValue top = DocumentValue::mapping();
    top.add("kind", DocumentValue::text(std::string(kKind)));
    top.add("apiVersion", DocumentValue::text(std::string(kApiVersion)));
    top.add_all(value_of(with_one_mode(config)));
    return top;
}

// A path that ends with a point means everything below. The reasons are in docs/configuration.md.
constexpr std::array kWithoutMeaning = std::to_array<std::string_view>({
    "winkernel.",
    "configSyncPeriod",
    "portRange",
    "windowsRunAsService",
    "logging.flushFrequency",
    "logging.options.text.infoBufferSize",
    "logging.options.json.infoBufferSize",
});

bool has_no_meaning(std::string_view path, std::string_view mode) {
    // A section of one mode in another.
    for (const std::string_view section : {"iptables", "ipvs", "nftables"}) {
        // ipvs has no such fields of its own.
        if (mode == "ipvs" && path.starts_with("iptables.masquerade")) continue;
        if (path.starts_with(section) && path.substr(section.size()).starts_with('.') && mode != section) return true;
    }
    return std::any_of(kWithoutMeaning.begin(), kWithoutMeaning.end(), [&](std::string_view entry) {
        return entry.ends_with('.') ? path.starts_with(entry) : path == entry;
    });
}

}  // namespace

std::string to_yaml(const KubeProxyConfiguration& config) { return document(config).yaml(); }
std::string to_json(const KubeProxyConfiguration& config) { return document(config).json(); }

std::vector<std::string> without_meaning(const KubeProxyConfiguration& config) {
    const auto usual = value_of(default_configuration()).leaves();
    const auto own = value_of(config).leaves();
    std::vector<std::string> paths;
    for (const auto& leaf : own) {
        if (has_no_meaning(leaf.first, config.mode) && std::find(usual.begin(), usual.end(), leaf) == usual.end())
            paths.push_back(leaf.first);
    }
    return paths;
}

}  // namespace ghostip::agent::config

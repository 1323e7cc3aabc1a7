#include "agent/config/feature_gates.h"

#include <algorithm>

#include "agent/config/scalars.h"

namespace ghostip::agent::config {
namespace {

constexpr std::string_view kAllAlpha = "AllAlpha";
constexpr std::string_view kAllBeta = "AllBeta";

const KnownGate* find_gate(std::string_view name) {
    const auto gates = known_gates();
    const auto found =
        std::lower_bound(gates.begin(), gates.end(), name,
                         [](const KnownGate& gate, std::string_view wanted) { return gate.name < wanted; });
    return found != gates.end() && found->name == name ? &*found : nullptr;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    return text;
}

}  // namespace

std::string_view stage_name(GateStage stage) {
    switch (stage) {
        case GateStage::kAlpha: return "ALPHA";
        case GateStage::kBeta: return "BETA";
        case GateStage::kGa: return "";
        case GateStage::kDeprecated: return "DEPRECATED";
    }
    return "";
}

std::vector<std::string> gate_errors(const GateSettings& settings) {
    std::vector<std::string> errors;
    for (const auto& [name, value] : settings) {
        const KnownGate* gate = find_gate(name);
        if (gate == nullptr)
            errors.push_back(fmt::format("unrecognized feature gate: {}", name));
        else if (gate->locked && gate->enabled != value)
            errors.push_back(
                fmt::format("cannot set feature gate {} to {}, feature is locked to {}", name, value, gate->enabled));
    }
    return errors;
}

bool gate_enabled(const GateSettings& settings, std::string_view name) {
    const KnownGate* gate = find_gate(name);
    if (gate == nullptr) return false;
    if (gate->locked) return gate->enabled;
    if (const auto own = settings.find(std::string(name)); own != settings.end()) return own->second;
    const std::string_view group = gate->stage == GateStage::kAlpha  ? kAllAlpha
                                   : gate->stage == GateStage::kBeta ? kAllBeta
                                                                     : std::string_view();
    if (group.empty() || name == group) return gate->enabled;
    const auto all = settings.find(std::string(group));
    return all != settings.end() ? all->second : gate->enabled;
}

Result<void> parse_gates(std::string_view text, GateSettings& settings) {
    for (const auto& pair : split(text, ',')) {
        if (pair.empty()) continue;
        const auto equals = pair.find('=');
        if (equals == std::string::npos) return fail("malformed pair, expect string=bool");
        const auto name = trimmed(std::string_view(pair).substr(0, equals));
        const auto value = trimmed(std::string_view(pair).substr(equals + 1));
        const auto parsed = parse_bool(value);
        if (!parsed) return fail("invalid value of {}: {}, err: {}", name, value, parsed.error().message);
        settings[std::string(name)] = *parsed;
    }
    return {};
}

std::string gates_text(const GateSettings& settings) {
    std::string text;
    for (const auto& [name, value] : settings) text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, value);
    return text;
}

}  // namespace ghostip::agent::config

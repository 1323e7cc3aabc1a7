// Feature gates: which there are, which may be changed, and what a configuration makes of them. Most mean nothing to
// this program and are only accepted.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ghostip::agent::config {

enum class GateStage : std::uint8_t { kAlpha, kBeta, kGa, kDeprecated };
[[nodiscard]] std::string_view stage_name(GateStage stage);  // "ALPHA", "BETA", "", "DEPRECATED", as Kubernetes writes

struct KnownGate {
    std::string_view name;
    GateStage stage;
    bool enabled;  // when nobody says otherwise
    bool locked = false;
};

[[nodiscard]] std::span<const KnownGate> known_gates();

using GateSettings = std::map<std::string, bool>;  // KubeProxyConfiguration featureGates

// What is wrong with the settings, one sentence each, in the order of the names.
[[nodiscard]] std::vector<std::string> gate_errors(const GateSettings& settings);

// Of a known gate. AllAlpha and AllBeta count for the gates of their stage that are not set themselves.
[[nodiscard]] bool gate_enabled(const GateSettings& settings, std::string_view name);

// `A=true,B=false`; what a flag says is added to `settings`.
[[nodiscard]] Result<void> parse_gates(std::string_view text, GateSettings& settings);
[[nodiscard]] std::string gates_text(const GateSettings& settings);

}  // namespace ghostip::agent::config

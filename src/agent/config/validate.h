// Whether a KubeProxyConfiguration, with its defaults, makes sense: the rules and the sentences of kube-proxy.
#pragma once

#include "agent/config/configuration.h"
#include "agent/config/field_errors.h"

namespace ghostip::agent::config {

// The Kubernetes version that ghostip stands in for.
inline constexpr std::string_view kKubernetesVersion = "v1.36.2";

// Everything that is wrong, in the order of the rules. Modes that only ghostip has (ebpf, userspace) are fine.
[[nodiscard]] FieldErrors validate(const KubeProxyConfiguration& config);

// The part of it that logging is about, with paths below `logging`.
void validate_logging(const Logging& logging, const GateSettings& gates, std::string_view path, FieldErrors& errors);

struct HostPort {
    std::string host;  // without brackets
    std::string port;  // as it stands
};
// `10.0.0.1:80`, `[::1]:80`; nothing where that is not the form.
[[nodiscard]] std::optional<HostPort> split_host_port(std::string_view text);

}  // namespace ghostip::agent::config

// What is said to an exec credential plugin and what it answers: `ExecCredential` of client.authentication.k8s.io
// (api.md 6). Text only; exec_plugin.h runs the program.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "source/kubernetes/client_config.h"

namespace ghostip::source::kubernetes {

// A pair in PEM; both empty: none.
struct ClientCertificate {
    std::string certificate;
    std::string key;

    [[nodiscard]] bool given() const { return !certificate.empty(); }
    friend bool operator==(const ClientCertificate&, const ClientCertificate&) = default;
};

struct PluginCredential {
    std::string token;
    ClientCertificate certificate;
    std::optional<std::chrono::system_clock::time_point> expires;  // nothing: never
};

// The value of KUBERNETES_EXEC_INFO. `authority` is the PEM of the configuration's authority; `proxy` what a request
// would take.
[[nodiscard]] std::string exec_info(const ExecPlugin& plugin, const ClientConfig& config, std::string_view authority,
                                    std::string_view proxy, bool interactive);

// Errors do not quote the answer.
[[nodiscard]] Result<PluginCredential> parse_exec_credential(std::string_view output, const ExecPlugin& plugin);

// `2026-01-02T03:04:05Z`, with fractions (dropped) and offsets.
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> parse_rfc3339(std::string_view text);

}  // namespace ghostip::source::kubernetes

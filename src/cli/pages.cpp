#include "cli/pages.h"

#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "agent/config/encode.h"
#include "agent/config/feature_gates.h"
#include "agent/config/validate.h"
#include "base/log.h"

namespace ghostip::cli {

namespace config = agent::config;

std::uint16_t port_of(const std::string& address) {
    const auto parts = config::split_host_port(address);
    std::uint16_t port = 0;
    if (parts) std::from_chars(parts->port.data(), parts->port.data() + parts->port.size(), port);
    return port;
}

std::unique_ptr<agent::PageServer> serve(std::string what, const std::string& address, http::Routes routes,
                                         std::function<void(const Error&)> on_hard_failure) {
    const auto parts = config::split_host_port(address);
    if (!parts) return nullptr;
    agent::PageServerConfig config;
    config.what = std::move(what);
    config.address = parts->host;
    config.port = port_of(address);
    config.on_hard_failure = std::move(on_hard_failure);
    return std::make_unique<agent::PageServer>(std::move(config), std::move(routes));
}

agent::MetricsPages metrics_pages_of(const ProxySettings& settings, std::string_view mode) {
    const auto& configuration = settings.configuration;
    agent::MetricsPages pages;
    pages.program = settings.invocation == Invocation::kKubeProxy ? "kube-proxy" : "ghostip";
    pages.version = settings.version;
    pages.mode = std::string(mode);
    pages.configz = fmt::format("{{\"kubeproxy.config.k8s.io\":{}}}", config::to_json(configuration));
    if (config::gate_enabled(configuration.feature_gates, "ComponentFlagz")) pages.flags = settings.flags;
    pages.with_statusz = config::gate_enabled(configuration.feature_gates, "ComponentStatusz");
    if (configuration.enable_profiling)
        pages.set_verbosity = [](int verbosity) -> Result<void> {
            log::set_verbosity(verbosity);
            return {};
        };
    return pages;
}

void Pages::open_by(std::function<Servers()> open) {
    const std::lock_guard lock(mutex_);
    open_ = std::move(open);
    servers_ = open_();
}

void Pages::set(bool open) {
    const std::lock_guard lock(mutex_);
    servers_.clear();
    if (open && open_) servers_ = open_();
}

}  // namespace ghostip::cli

#include "source/kubernetes/client_config.h"

#include <cstdlib>

#include "source/kubernetes/in_cluster.h"
#include "source/kubernetes/kubeconfig.h"
#include "source/kubernetes/refreshed_file.h"

namespace ghostip::source::kubernetes {

Environment process_environment() {
    return [](const std::string& name) -> std::optional<std::string> {
        // Nothing in this process sets variables.
        const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe)
        return value == nullptr ? std::nullopt : std::optional<std::string>(value);
    };
}

Result<ClientConfig> load_client_config(const LoadOptions& options) {
    if (options.kubeconfig.empty() && options.master.empty()) return load_in_cluster(options);
    std::string text;
    if (!options.kubeconfig.empty()) {
        ASSIGN_OR_RETURN(text, read_file(options.kubeconfig));
    }
    const std::string file = options.kubeconfig.empty() ? "--master" : options.kubeconfig;
    ASSIGN_OR_RETURN(auto config, parse_kubeconfig(text, file, options.master, read_file));
    if (config) return std::move(*config);
    if (!in_cluster_possible(options))
        return fail(
            "invalid configuration: no configuration has been provided: {} names no server for its current context",
            file);
    ASSIGN_OR_RETURN(ClientConfig in_cluster, load_in_cluster(options));
    in_cluster.notices.push_back(
        fmt::format("{}: names no server for its current context; the in-cluster configuration is used", file));
    return in_cluster;
}

}  // namespace ghostip::source::kubernetes

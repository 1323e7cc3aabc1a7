#include "source/kubernetes/in_cluster.h"

#include <sys/stat.h>

#include "source/kubernetes/pem.h"
#include "source/kubernetes/refreshed_file.h"

namespace ghostip::source::kubernetes {
namespace {

constexpr const char* kHost = "KUBERNETES_SERVICE_HOST";
constexpr const char* kPort = "KUBERNETES_SERVICE_PORT";

std::string variable(const LoadOptions& options, const char* name) { return options.environment(name).value_or(""); }

}  // namespace

bool in_cluster_possible(const LoadOptions& options) {
    struct stat status {};
    return !variable(options, kHost).empty() && !variable(options, kPort).empty() &&
           ::stat((options.service_account_folder + "/token").c_str(), &status) == 0 && !S_ISDIR(status.st_mode);
}

Result<ClientConfig> load_in_cluster(const LoadOptions& options) {
    ClientConfig config;
    config.origin = "in-cluster configuration";
    const std::string host = variable(options, kHost);
    const std::string port = variable(options, kPort);
    for (const auto& [name, value] : {std::pair{kHost, &host}, std::pair{kPort, &port}})
        if (value->empty())
            return fail("{}: the environment variable {} must be set; outside of a cluster, name a kubeconfig",
                        config.origin, name);
    auto server = parse_server_url(fmt::format("https://{}:{}", bracketed(host), port), SchemeIfNone::kHttps);
    if (!server)
        return fail("{}: {}=\"{}\", {}=\"{}\": {}", config.origin, kHost, host, kPort, port, server.error().message);
    config.server = std::move(server).value();

    config.token_file = options.service_account_folder + "/token";
    ASSIGN_OR_RETURN(config.token, read_file(config.token_file));
    const std::string authority = options.service_account_folder + "/ca.crt";
    const auto content = read_file(authority);
    if (content && has_pem_block(*content, "CERTIFICATE")) {
        config.authority.file = authority;
    } else {
        config.notices.push_back(fmt::format("{}; the server is checked against the system's roots",
                                             content ? authority + ": holds no certificate" : content.error().message));
    }
    config.name_space = read_file(options.service_account_folder + "/namespace").value_or("");
    return config;
}

}  // namespace ghostip::source::kubernetes

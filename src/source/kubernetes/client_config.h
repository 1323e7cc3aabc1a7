// Who the API server is and who we are: what a kubeconfig, or the environment of a pod, comes to. A value; what of it
// changes while we run (token files, certificates, plugins) is credentials.h's business.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "source/kubernetes/server_url.h"

namespace ghostip::source::kubernetes {

// A value of the process's environment, or nothing. A seam: tests bring their own.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
[[nodiscard]] Environment process_environment();

// Content that is given in place or as the name of a file; in place wins. Both empty: not given.
struct FileOrData {
    std::string file;
    std::string data;  // decoded

    [[nodiscard]] bool given() const { return !file.empty() || !data.empty(); }
    friend bool operator==(const FileOrData&, const FileOrData&) = default;
};

enum class InteractiveMode : std::uint8_t { kNever, kIfAvailable, kAlways };

// `user.exec`: a program that prints credentials (api.md 6).
struct ExecPlugin {
    std::string command;
    std::vector<std::string> arguments;
    std::vector<std::pair<std::string, std::string>> environment;  // beside the process's own
    std::string api_version;
    std::string install_hint;
    InteractiveMode interactive = InteractiveMode::kIfAvailable;
    bool provide_cluster_info = false;
    std::string cluster_config = {};  // JSON: the cluster's extension for exec plugins; empty: none
};

struct Impersonation {
    std::string user;
    std::string uid;
    std::vector<std::string> groups;
    std::map<std::string, std::vector<std::string>> extra;
};

struct ClientConfig {
    std::string origin;  // for messages: a file's name, or `in-cluster configuration`
    ServerUrl server;

    FileOrData authority;  // PEM; not given: the system's roots
    std::string tls_server_name;
    bool insecure_skip_tls_verify = false;
    std::string proxy_url;  // not given: by the environment
    bool disable_compression = false;

    // Who we are. All empty unless the server is https: credentials never travel in the clear.
    FileOrData certificate;
    FileOrData key;
    std::string token;
    std::string token_file;
    std::string username;
    std::string password;
    std::optional<ExecPlugin> exec;  // only where no token, password or certificate is given
    Impersonation impersonation;

    std::string name_space;
    // For whoever loaded it to log: what was survived, and what follows from it.
    std::vector<std::string> notices;
};

struct LoadOptions {
    std::string kubeconfig;  // --kubeconfig, clientConnection.kubeconfig
    std::string master;      // --master
    Environment environment = process_environment();
    std::string service_account_folder = "/var/run/secrets/kubernetes.io/serviceaccount";
};

// Neither kubeconfig nor master: in-cluster. Otherwise the kubeconfig with master in place of its server; a result that
// names no server at all falls back to in-cluster where that is possible. Errors name the file and the field, and all
// of them are told: `invalid configuration: [ … ]`.
[[nodiscard]] Result<ClientConfig> load_client_config(const LoadOptions& options);

}  // namespace ghostip::source::kubernetes

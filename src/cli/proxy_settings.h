// What `ghostip proxy` is to do, once flags, configuration file, defaults and the host have had their say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/config/configuration.h"
#include "agent/config/file_watch.h"
#include "base/result.h"
#include "cli/flag_set.h"
#include "cli/proxy_flags.h"

namespace ghostip::cli {

// By what name the program was called: `kube-proxy` (a link to the binary) or `ghostip proxy`. The first has
// kube-proxy's meaning where the two differ: no mode is iptables, an empty page address is the usual one, errors look
// like its.
enum class Invocation : std::uint8_t { kGhostip, kKubeProxy };

struct ProxySettings {
    Invocation invocation = Invocation::kGhostip;
    agent::config::KubeProxyConfiguration configuration;  // whole, not validated; what /configz shows
    OwnSettings own;
    std::string master;
    std::string write_config_to;
    bool cleanup = false;
    bool init_only = false;
    std::string version;                                     // of Kubernetes, as reported
    std::optional<agent::config::FileWatch> file_watch;      // of --config; from before it was read
    std::vector<std::pair<std::string, std::string>> flags;  // for the log and /flagz
    std::vector<std::string> notes;                          // to be logged once logging is set up
};

// `set` is the table of `flags`. An error says which flag or file, and why; what validate() finds is left to it.
[[nodiscard]] Result<ProxySettings> complete(Invocation invocation, const ProxyFlags& flags, const FlagSet& set);

}  // namespace ghostip::cli

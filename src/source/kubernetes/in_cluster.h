// What Kubernetes gives every pod: the server in two environment variables, a token and an authority in a folder.
#pragma once

#include "source/kubernetes/client_config.h"

namespace ghostip::source::kubernetes {

// Whether there is such a thing here: both variables and a token file.
[[nodiscard]] bool in_cluster_possible(const LoadOptions& options);
[[nodiscard]] Result<ClientConfig> load_in_cluster(const LoadOptions& options);

}  // namespace ghostip::source::kubernetes

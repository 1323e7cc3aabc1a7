// Reads a kubeconfig (YAML or JSON; api.md 5): the current context's server and user.
#pragma once

#include "source/kubernetes/client_config.h"

namespace ghostip::source::kubernetes {

// A seam: what a name in a kubeconfig stands for.
using ReadFile = std::function<Result<std::string>(const std::string& path)>;

// `file` names the text in errors, and its folder is where relative names begin. `master`, if not empty, takes the
// place of the server's URL (and drops tls-server-name, which belonged to the other). Nothing if no server is named at
// all: the file is empty, or what the context names is not in it.
[[nodiscard]] Result<std::optional<ClientConfig>> parse_kubeconfig(std::string_view text, const std::string& file,
                                                                   const std::string& master,
                                                                   const ReadFile& read_file);

}  // namespace ghostip::source::kubernetes

// What the real kube-proxy left in ipvs mode (README.md beside this), and a way to put it back into a namespace. Both
// families are in one recording, for sets and virtual servers are.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "recorded/recordings.h"
#include "support/namespace.h"

namespace ghostip::recorded {

// Names of recordings of which there is one of ipvs mode too; objects and flags are theirs.
[[nodiscard]] const std::vector<std::string>& ipvs_recordings();

// With the programs that made it; rules go to the variant legacy.
[[nodiscard]] Result<void> load_ipvs(const std::string& name, const testnet::Namespace& into);
// As kube-proxy does at its start where all that is there already: it takes the sets for its own, or fails; chains are
// written anew, jumps only where there are none.
[[nodiscard]] Result<void> load_ipvs_again(const std::string& name, const testnet::Namespace& into);

// What stands in a namespace, each sorted: lines of ipvsadm-save, of ipset save.
[[nodiscard]] Result<std::vector<std::string>> saved_servers(const testnet::Namespace& node);
[[nodiscard]] Result<std::vector<std::string>> saved_sets(const testnet::Namespace& node);

}  // namespace ghostip::recorded

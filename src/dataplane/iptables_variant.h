// Which iptables to speak to: the one that this host's other programs use. Rules of both meet each packet, so that it
// matters that all agree, and both families of a process do.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "dataplane/dataplane.h"
#include "kernel/iptables/iptables.h"

namespace ghostip::dataplane {

// What one variant holds, in both families together.
struct Evidence {
    kernel::iptables::Variant variant = kernel::iptables::Variant::kNft;
    bool kubelet = false;   // the kubelet's hint or its canary in mangle
    bool services = false;  // a proxy's KUBE-SERVICES in nat
    std::size_t rules = 0;  // in nat, filter and mangle
};

// Of what is there, nft first where nothing else decides. `evidence` is of the variants whose programs exist; at least
// one.
[[nodiscard]] kernel::iptables::Variant choose(std::span<const Evidence> evidence);
[[nodiscard]] Result<void> gather(kernel::iptables::Iptables& iptables, Evidence& evidence);

// Options::variant, else by what the network namespace of the calling thread holds. Error ENOENT: no programs.
[[nodiscard]] Result<kernel::iptables::Variant> choose_variant(const Options& options);

}  // namespace ghostip::dataplane

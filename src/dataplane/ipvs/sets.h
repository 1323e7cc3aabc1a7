// The sets of this mode: how large they are made, and how they become larger.
//
// Those with kube-proxy's names are as it makes them, down to the number of elements: it does not start beside others.
#pragma once

#include "base/result.h"
#include "dataplane/ipvs/names.h"
#include "kernel/ipset/ipset.h"

namespace ghostip::dataplane::ipvs {

// As it is made. EEXIST of ensure_sets(): there is a set of that name and another type.
[[nodiscard]] kernel::ipset::Definition definition(Set set, net::Family family);

// All of them, empty where they are new. One of another size is exchanged, unless it has more elements than fit.
[[nodiscard]] Result<void> ensure_sets(kernel::ipset::Sets& sets, net::Family family);

// A full one, for one with room. Rules that ask it never miss any element. kube-proxy cannot start beside that.
[[nodiscard]] Result<void> widen(kernel::ipset::Sets& sets, Set set, net::Family family);

}  // namespace ghostip::dataplane::ipvs

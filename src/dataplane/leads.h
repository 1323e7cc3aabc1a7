// Where a mode's rules lead the packets to one destination, read back from the kernel: for a mode whose clients are
// led to it by the rules of another one.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "plan/plan.h"

namespace ghostip::dataplane {

struct Lead {
    plan::PoolScope scope = plan::PoolScope::kCluster;  // the pool in whose place the address stands
    net::IpAddress address;
    std::uint16_t port = 0;
};

struct Leads {
    bool rules = false;  // the mode has rules of this family there at all
    std::vector<Lead> leads;
};

// In the network namespace of the calling thread. Null: only whether there are rules.
using ReadLeads = Result<Leads> (*)(net::Family family, const plan::Destination* destination);

}  // namespace ghostip::dataplane

// Where the kernel leads one packet, read back and compared with the plan: `ghostip explain --live`. Rules and sockets
// are seen; whom the relay then picks is not, for the process that does it keeps that to itself.
#pragma once

#include <functional>
#include <vector>

#include "dataplane/leads.h"
#include "dataplane/listener_sighting.h"

namespace ghostip::dataplane::userspace {

// What is asked of the host.
struct Eyes {
    std::function<Result<Leads>(net::Family, const plan::Destination*)> leads;
    // Of the redirecting mode: what it holds for a packet, compared with what it should.
    std::function<Result<Sighting>(const plan::Plan&, const plan::Journey&)> rules;
    const plan::ModeProfile& (*rules_profile)();
    ListenersAt listeners_at;
    std::vector<net::IpAddress> addresses;  // of this host's interfaces, sorted; empty: not known
    std::uint32_t relay_mark = 0;
};

[[nodiscard]] Result<Sighting> sight(const Eyes& eyes, const plan::Plan& plan, const plan::Journey& journey);

}  // namespace ghostip::dataplane::userspace

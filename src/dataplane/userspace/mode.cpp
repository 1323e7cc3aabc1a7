// The row of the table: each function of it, with the redirecting mode's behind it.
#include <linux/capability.h>

#include <algorithm>
#include <array>

#include "dataplane/userspace/cleanup.h"
#include "dataplane/userspace/dataplane.h"
#include "dataplane/userspace/render.h"
#include "dataplane/userspace/sighting.h"
#include "dataplane/userspace/supported.h"
#include "kernel/route/addresses.h"

namespace ghostip::dataplane::userspace {
namespace {

// Constant once the table is there.
const Mode* redirecting_mode = nullptr;
ReadLeads read_leads = nullptr;

std::vector<std::string> missing(net::Family /*family*/, const Options& /*options*/) { return {}; }

Result<std::unique_ptr<Dataplane>> open(net::Family family, const Options& options) {
    auto why_not = why_not_redirected(*redirecting_mode, family, options);
    std::unique_ptr<Dataplane> inner;
    if (why_not.empty()) {
        auto own = options;
        own.relay.localhost_node_ports = false;  // served here
        ASSIGN_OR_RETURN(inner, redirecting_mode->open(family, own));
    }
    ASSIGN_OR_RETURN(auto dataplane,
                     UserspaceDataplane::open(family, std::move(inner), std::move(why_not), options.relay));
    return std::unique_ptr<Dataplane>(std::move(dataplane));
}

std::string render_text(const plan::Plan& plan) { return render(plan, redirecting_mode->render); }

Result<Sighting> sight_packet(const plan::Plan& plan, const plan::Journey& journey, const Options& options) {
    Eyes eyes;
    eyes.leads = read_leads;
    eyes.rules = [&](const plan::Plan& redirected, const plan::Journey& led) {
        return redirecting_mode->sight(redirected, led, options);
    };
    eyes.rules_profile = redirecting_mode->profile;
    eyes.listeners_at = kernel::sockets::listeners_at;
    // As the agent asks for them: a Node object can name others.
    eyes.addresses = kernel::route::interface_addresses({}).value_or({});
    std::sort(eyes.addresses.begin(), eyes.addresses.end());
    eyes.relay_mark = options.relay.mark;
    return sight(eyes, plan, journey);
}

Result<void> clean_up(std::vector<std::string>& kept) { return cleanup(*redirecting_mode, kept); }

}  // namespace

Mode mode(const Mode& redirecting, ReadLeads leads) {
    redirecting_mode = &redirecting;
    read_leads = leads;
    Mode row;
    row.name = "userspace";
    row.profile = plan::userspace_profile;
    row.calls = Calls::kQuick;
    row.capabilities = redirecting.capabilities;
    row.missing = missing;
    row.open = open;
    row.watch = redirecting.watch;
    row.render = render_text;
    row.sight = sight_packet;
    row.cleanup = clean_up;
    row.automatic = false;
    row.packet_counts = redirecting.packet_counts;
    row.rules_of = redirecting.name;
    return row;
}

}  // namespace ghostip::dataplane::userspace

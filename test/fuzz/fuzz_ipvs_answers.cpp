// What IPVS and ip_set say that they hold: any bytes become values or none, the same each time, and values keep to what
// their headers promise.
#include <linux/genetlink.h>
#include <linux/netfilter/nfnetlink.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "kernel/ipset/messages.h"
#include "kernel/ipvs/messages.h"
#include "kernel/netlink/messages.h"

namespace {

using namespace ghostip;
using namespace ghostip::kernel;

void require(bool holds) {
    if (!holds) std::abort();
}

void check_ipvs(const nlmsghdr* message) {
    const auto service = ipvs::read_service(message);
    require(service == ipvs::read_service(message));
    if (service) {
        const int bits = net::address_bits(service->key.address.family());
        require(service->client_bits == ipvs::kAllBits || (service->client_bits >= 0 && service->client_bits < bits));
        require((service->flags & ipvs::kHashed) == 0);
        require(!ipvs::text(service->key).empty());
        // What could be read can be written, and is the same when it is read again.
        netlink::Request request;
        auto again = *service;
        again.scheduler = again.scheduler.substr(0, 15);
        again.engine = again.engine.substr(0, 15);
        const auto* written = ipvs::put_command(request, 33, {ipvs::Verb::kNewService, again, {}});
        require(ipvs::read_service(written) == again);
    }
    for (const auto family : net::kFamilies)
        require(ipvs::read_destination(message, family) == ipvs::read_destination(message, family));
    static_cast<void>(ipvs::read_info(message));
    static_cast<void>(ipvs::read_timeouts(message));
    static_cast<void>(ipvs::read_family(message));
}

void check_ipset(const nlmsghdr* message, std::vector<ipset::Contents>& sets) {
    static_cast<void>(ipset::read_part(message, sets));
    static_cast<void>(ipset::read_protocol(message));
    static_cast<void>(ipset::read_type(message));
    static_cast<void>(ipset::refused_line(message));
    for (const auto& set : sets) {
        require(!set.header.name.empty());
        require(set.elements.empty() || set.header.type.has_value());
        for (const auto& element : set.elements)
            require(!element.other || element.other->length <= net::address_bits(element.other->family()));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::vector<ipset::Contents> sets;
    for (const nlmsghdr* message : netlink::messages(data, size)) {
        if (message->nlmsg_len < sizeof(nlmsghdr) + sizeof(genlmsghdr)) continue;
        static_assert(sizeof(genlmsghdr) == sizeof(nfgenmsg));
        check_ipvs(message);
        check_ipset(message, sets);
    }
    return 0;
}

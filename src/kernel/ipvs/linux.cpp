#include "kernel/ipvs/linux.h"

#include <cerrno>
#include <optional>
#include <set>

#include "kernel/ipvs/messages.h"

namespace ghostip::kernel::ipvs {

Result<std::unique_ptr<LinuxIpvs>> LinuxIpvs::open() {
    ASSIGN_OR_RETURN(auto socket, netlink::Socket::open(NETLINK_GENERIC));
    netlink::Request request;
    std::optional<std::uint16_t> family;
    const auto found = socket.ask(put_find_family(request), "ask for IPVS",
                                  [&](const nlmsghdr* answer) { family = read_family(answer); });
    if (!found && found.error().code == ENOENT)
        return Error{"this kernel has no IPVS (module ip_vs is neither built in nor loadable)", ENOENT};
    RETURN_IF_ERROR(found);
    if (!family) return fail("ask for IPVS: the kernel names no number");
    return std::unique_ptr<LinuxIpvs>(new LinuxIpvs(std::move(socket), *family));
}

Result<Info> LinuxIpvs::info() {
    netlink::Request request;
    std::optional<Info> info;
    RETURN_IF_ERROR(socket_.ask(put_get_info(request, family_), "ask IPVS for its version",
                                [&](const nlmsghdr* answer) { info = read_info(answer); }));
    if (!info) return fail("ask IPVS for its version: an answer without one");
    return *info;
}

// The kernel walks its table anew for each part of a long list, by counting (ip_vs_genl_dump_services(), to 6.12 at
// least), and does not say if the table has changed in between. What somebody adds or takes away meanwhile can thus
// make it repeat a service, or leave one out. Repeated ones are dropped here; for the rest, list twice where it
// matters.
Result<std::vector<Service>> LinuxIpvs::services() {
    netlink::Request request;
    std::vector<Service> services;
    std::set<ServiceKey> seen;
    std::size_t unread = 0;
    RETURN_IF_ERROR(socket_.list(put_list_services(request, family_), "list IPVS services", [&](const nlmsghdr* line) {
        auto service = read_service(line);
        if (!service)
            ++unread;
        else if (seen.insert(service->key).second)
            services.push_back(std::move(*service));
    }));
    if (unread > 0) return fail("list IPVS services: {} of them cannot be read", unread);
    return services;
}

Result<bool> LinuxIpvs::contains(const ServiceKey& service) {
    netlink::Request request;
    const auto found = socket_.ask(put_get_service(request, family_, service), "ask for IPVS service " + text(service));
    if (!found && found.error().code == ESRCH) return false;
    RETURN_IF_ERROR(found);
    return true;
}

Result<std::vector<Destination>> LinuxIpvs::destinations(const ServiceKey& service) {
    netlink::Request request;
    std::vector<Destination> destinations;
    std::size_t unread = 0;
    const auto what = "list IPVS destinations of " + text(service);
    RETURN_IF_ERROR(socket_.list(put_list_destinations(request, family_, service), what, [&](const nlmsghdr* line) {
        const auto destination = read_destination(line, service.address.family());
        if (destination)
            destinations.push_back(*destination);
        else
            ++unread;
    }));
    if (unread > 0) return fail("{}: {} of them cannot be read", what, unread);
    return destinations;
}

Result<std::vector<Refusal>> LinuxIpvs::apply(std::span<const Command> commands) {
    netlink::Batch batch;
    for (const auto& command : commands) {
        netlink::Request request;
        batch.add(put_command(request, family_, command));
    }
    std::vector<Refusal> refusals;
    RETURN_IF_ERROR(
        socket_.ask_all(batch, "change IPVS services", [&](std::size_t index, int code, const nlmsghdr* /*answer*/) {
            refusals.push_back({index, errno_error(code, text(commands[index]))});
        }));
    return refusals;
}

Result<Timeouts> LinuxIpvs::timeouts() {
    netlink::Request request;
    std::optional<Timeouts> timeouts;
    RETURN_IF_ERROR(socket_.ask(put_get_timeouts(request, family_), "ask IPVS for its timeouts",
                                [&](const nlmsghdr* answer) { timeouts = read_timeouts(answer); }));
    if (!timeouts) return fail("ask IPVS for its timeouts: an answer without them");
    return *timeouts;
}

Result<void> LinuxIpvs::set_timeouts(const Timeouts& timeouts) {
    netlink::Request request;
    return socket_.ask(put_set_timeouts(request, family_, timeouts),
                       fmt::format("set IPVS timeouts {} {} {} (tcp, tcp fin, udp; seconds)", timeouts.tcp,
                                   timeouts.tcp_fin, timeouts.udp));
}

Result<void> LinuxIpvs::flush() {
    netlink::Request request;
    return socket_.ask(put_flush(request, family_), "remove IPVS' virtual servers");
}

}  // namespace ghostip::kernel::ipvs

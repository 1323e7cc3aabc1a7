#include "dataplane/ipvs/render.h"

#include <array>
#include <map>
#include <set>

#include <fmt/format.h>

#include "dataplane/ipvs/compare.h"
#include "dataplane/ipvs/front.h"
#include "dataplane/ipvs/render_rules.h"

namespace ghostip::dataplane::ipvs {
namespace {

std::string_view option_of(net::Protocol protocol) {
    switch (protocol) {
        case net::Protocol::kTcp: return "-t";
        case net::Protocol::kUdp: return "-u";
        case net::Protocol::kSctp: return "--sctp-service";
    }
    return "?";
}

// " -b mh-fallback,mh-port", as ipvsadm prints it.
std::string flags_text(const kernel::ipvs::Service& service) {
    const bool has_names = service.scheduler == "sh" || service.scheduler == "mh";
    std::string text;
    const auto add = [&](std::uint32_t flag, std::string_view name, int number) {
        if ((service.flags & flag) == 0) return;
        text += text.empty() ? " -b " : ",";
        text += has_names ? fmt::format("{}-{}", service.scheduler, name) : fmt::format("flag-{}", number);
    };
    add(kernel::ipvs::kScheduler1, "fallback", 1);
    add(kernel::ipvs::kScheduler2, "port", 2);
    return text;
}

std::string sets_text(const plan::Plan& plan, const std::array<std::vector<kernel::ipset::Element>, kSetCount>& sets) {
    std::string text;
    for (const auto& row : set_rows()) {
        const auto& elements = sets[static_cast<std::size_t>(row.set)];
        if (elements.empty()) continue;
        const auto name = set_name(row.set, plan.family);
        text += fmt::format("create {} {}\n", name, kernel::ipset::type_name(row.type));
        for (const auto& element : elements)
            text += fmt::format("add {} {}\n", name, kernel::ipset::text(row.type, element));
    }
    return text;
}

std::string rules_text(const plan::Plan& plan, const std::map<plan::DestinationKey, std::string>& short_circuits) {
    const auto chains = render_chains({plan.node, plan.family}, text_of(short_circuits));
    std::string text;
    for (const char* table : tables::kAll) {
        text += fmt::format("*{}\n", table);
        for (const auto& chain : chains)
            if (chain.table == table) text += fmt::format(":{} - [0:0]\n", chain.name);
        for (const auto& chain : chains)
            if (chain.table == table) text += chain.rules;
        for (const auto& jump : render_jumps(plan.family))
            if (jump.table == table) text += fmt::format("-I {}{}\n", jump.chain, jump.rule);
        text += "COMMIT\n";
    }
    return text;
}

}  // namespace

std::string text(const Server& server) {
    const auto& service = server.service;
    const auto key =
        fmt::format("{} {}", option_of(service.key.protocol), net::host_port(service.key.address, service.key.port));
    std::string made = fmt::format("-A {} -s {}", key, service.scheduler);
    if ((service.flags & kernel::ipvs::kPersistent) != 0) made += fmt::format(" -p {}", service.timeout_seconds);
    made += flags_text(service);
    made += '\n';
    for (const auto& one : server.destinations)
        made += fmt::format("-a {} -r {} -m -w {}\n", key, net::host_port(one.key.address, one.key.port), one.weight);
    return made;
}

std::string render(const plan::Plan& plan) {
    const IpvsOptions options;
    const Limits limits;
    const Context context{plan.node, plan.family, options, limits};
    std::string servers;
    std::set<net::IpAddress> addresses;
    std::array<std::vector<kernel::ipset::Element>, kSetCount> sets;
    std::map<plan::DestinationKey, std::string> short_circuits;
    const auto put = [&](const SetEntry& entry) { sets[static_cast<std::size_t>(entry.set)].push_back(entry.element); };
    for (const auto& [name, service_port] : plan.service_ports)
        for (const auto& front : render_fronts(*service_port, context)) {
            for (const auto& server : front.servers) servers += text(server);
            for (const auto& entry : front.entries) put(entry);
            if (front.address) addresses.insert(*front.address);
            if (!front.short_circuit.empty()) short_circuits[front.key] = front.short_circuit;
        }
    for (const auto& [hairpin, count] : plan.hairpins) put(hairpin_entry(hairpin));
    for (const auto& [service, check] : plan.health_checks) put(health_check_entry(check.node_port));
    std::string device;
    for (const auto& address : addresses) {
        put(address_entry(Set::kIpvsIps, address));
        device += fmt::format("address add {} dev {}\n", net::Prefix::host(address).text(), kDevice);
    }
    return fmt::format("# ipvsadm --restore\n{}# ipset restore\n{}# ip -batch -\n{}# iptables-restore --noflush\n{}",
                       servers, sets_text(plan, sets), device, rules_text(plan, short_circuits));
}

}  // namespace ghostip::dataplane::ipvs

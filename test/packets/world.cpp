#include "packets/world.h"

#include <algorithm>

#include <fmt/format.h>

#include "support/twin.h"

namespace ghostip::packets {
namespace {

using testnet::in_family;
using testnet::Place;

constexpr std::size_t kServices = 14;  // distinct names, and so cluster IPs
const std::vector<std::uint16_t> kServicePorts{80, 81, 443, 53, 8080};
const std::vector<std::uint16_t> kNodePorts{30001, 30002, 30003, 30004, 30005, 30006};
const std::vector<std::uint16_t> kTargetPorts{80, 8080, 8081, 5353};
const std::vector<net::Protocol> kProtocols{net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp};
const std::vector<std::string> kNodeAddresses{"192.168.0.2", "192.168.1.2", "192.168.99.11"};
const std::vector<std::string> kZones{"zone-a", "zone-b", "zone-c"};
const std::vector<std::string> kOutsiders{"203.0.113.2", "203.0.113.130", "203.0.113.77", "192.168.0.77",
                                          "192.168.99.12"};

net::Prefix range(net::Family family, std::string_view ipv4) {
    const auto prefix = *net::Prefix::parse_lenient(ipv4);
    return family == net::Family::kIpv4 ? prefix : testnet::twin(prefix);
}

net::Family other(net::Family family) { return family == net::Family::kIpv4 ? net::Family::kIpv6 : net::Family::kIpv4; }

std::string port_name(std::uint16_t port, net::Protocol protocol) {
    return fmt::format("{}-{}", net::protocol_lower_name(protocol), port);
}

}  // namespace

std::set<std::uint16_t> world_ports() {
    std::set<std::uint16_t> ports{9, 30009};
    for (const auto& some : {kServicePorts, kNodePorts, kTargetPorts}) ports.insert(some.begin(), some.end());
    return ports;
}

void update(Objects& objects, const std::vector<api::Change>& changes) {
    for (const auto& change : changes) {
        objects.erase(change.key);
        if (change.object) objects.emplace(change.key, *change.object);
    }
}

World WorldMaker::world(net::Family family) {
    World world;
    world.family = family;
    world.settings = settings(family);
    const auto add = [&](api::Object object) { world.objects.insert_or_assign(api::key_of(object), object); };
    if (chance(90)) add(node(family));
    if (chance(70)) add(service_cidr(family));
    const std::size_t services = 2 + below(9);
    for (std::size_t i = 0; i < services; ++i) {
        const auto made = service(family, below(kServices));
        const std::size_t slices = chance(15) ? 0 : 1 + below(3);
        for (std::size_t s = 0; s < slices; ++s)
            add(std::shared_ptr<const api::EndpointSlice>(slice(family, *made, s)));
        add(std::shared_ptr<const api::Service>(made));
    }
    return world;
}

plan::NodeSettings WorldMaker::settings(net::Family family) {
    plan::NodeSettings settings;
    settings.node_name = "test-node";
    switch (below(8)) {
        case 0: break;  // ClusterCIDR without a range: nobody is a pod
        case 1: settings.cluster_cidrs = {range(other(family), "10.0.0.0/8")}; break;
        case 2: settings.cluster_cidrs = {range(family, "10.180.0.0/16")}; break;
        case 3: settings.detect_local_mode = plan::DetectLocalMode::kNodeCidr; break;
        case 4:
            settings.detect_local_mode = plan::DetectLocalMode::kBridgeInterface;
            settings.pod_interface = "pods";
            break;
        case 5:
            settings.detect_local_mode = plan::DetectLocalMode::kInterfaceNamePrefix;
            settings.pod_interface = chance(70) ? "pod" : "o";
            break;
        default:
            settings.cluster_cidrs = {range(net::Family::kIpv4, "10.0.0.0/8"), range(net::Family::kIpv6, "10.0.0.0/8")};
    }
    settings.masquerade_all = chance(20);
    if (chance(40)) settings.masquerade_bit = pick(std::vector<std::uint8_t>{0, 7, 15, 31});
    switch (below(6)) {
        case 0: settings.node_ports_on_primary = true; break;
        case 1: settings.node_port_ranges = {range(family, "0.0.0.0/0")}; break;
        case 2: settings.node_port_ranges = {range(family, "192.168.1.0/24"), range(family, "192.168.99.11/32")}; break;
        case 3: settings.node_port_ranges = {range(family, "192.168.77.0/24")}; break;
        case 4: settings.node_port_ranges = {range(other(family), "192.168.0.0/24")}; break;
        default: break;
    }
    return settings;
}

api::Object WorldMaker::node(net::Family family) {
    auto node = std::make_shared<api::Node>();
    node->name = "test-node";
    if (chance(70)) node->zone = pick(kZones);
    if (chance(80))
        node->addresses.push_back(
            {api::NodeAddressType::kInternalIp, in_family(family, chance(80) ? "192.168.0.2" : "192.168.1.2")});
    if (chance(30)) node->addresses.push_back({api::NodeAddressType::kExternalIp, in_family(family, "192.168.99.11")});
    if (chance(80)) node->pod_cidrs.push_back(range(family, chance(50) ? "10.180.0.0/16" : "10.180.0.0/29"));
    return std::shared_ptr<const api::Node>(node);
}

api::Object WorldMaker::service_cidr(net::Family family) {
    auto cidr = std::make_shared<api::ServiceCidr>();
    cidr->name = "kubernetes";
    cidr->cidrs.push_back(range(family, "172.30.0.0/16"));
    if (chance(30)) cidr->cidrs.push_back(range(family, "172.30.0.0/24"));
    if (chance(20)) cidr->cidrs.push_back(range(other(family), "172.30.0.0/16"));
    return std::shared_ptr<const api::ServiceCidr>(cidr);
}

std::shared_ptr<api::Service> WorldMaker::service(net::Family family, std::size_t number) {
    auto made = std::make_shared<api::Service>();
    made->namespace_ = number % 2 == 0 ? "ns1" : "ns2";
    made->name = fmt::format("svc{}", number);
    const auto own = in_family(family, fmt::format("172.30.0.{}", chance(97) ? 10 + number : 10 + below(kServices)));
    made->cluster_ip = own;
    made->cluster_ips = {own};
    if (chance(80)) made->ip_families = {family};
    if (chance(20) && !made->ip_families.empty()) {
        made->ip_families.push_back(other(family));
        made->cluster_ips.push_back(in_family(other(family), fmt::format("172.30.0.{}", 10 + number)));
    }
    const std::size_t ports = 1 + below(3);
    for (std::size_t i = 0; i < ports; ++i) {
        api::ServicePort port;
        port.protocol = chance(50) ? net::Protocol::kTcp : pick(kProtocols);
        port.port = pick(kServicePorts);
        port.name = port_name(port.port, port.protocol);
        const auto same = [&](const auto& one) { return one.name == port.name; };
        if (std::none_of(made->ports.begin(), made->ports.end(), same)) made->ports.push_back(port);
    }
    if (made->ports.size() == 1 && chance(30)) made->ports.front().name.clear();
    if (chance(30)) made->internal_traffic_policy = api::TrafficPolicy::kLocal;
    if (chance(30)) made->affinity_seconds = chance(50) ? 600 : 10800;
    if (chance(75)) make_external(family, *made);
    return made;
}

void WorldMaker::make_external(net::Family family, api::Service& service) {
    if (chance(45)) service.external_traffic_policy = api::TrafficPolicy::kLocal;
    const auto kind = below(3);
    if (kind > 0) {
        service.type = kind == 1 ? api::ServiceType::kNodePort : api::ServiceType::kLoadBalancer;
        for (auto& port : service.ports)
            if (chance(90)) port.node_port = pick(kNodePorts);
    }
    if (kind == 2) {
        const std::size_t vips = below(3);
        for (std::size_t i = 0; i < vips; ++i)
            service.load_balancer_vips.push_back(
                in_family(chance(90) ? family : other(family), fmt::format("5.6.7.{}", 1 + below(4))));
        if (chance(50)) {
            const std::size_t ranges = 1 + below(3);
            static const std::vector<std::string> kRanges{"203.0.113.0/25", "203.0.113.130/32", "192.168.0.0/24",
                                                          "10.0.0.0/8",     "10.0.0.2/32",      "203.0.0.0/16",
                                                          "10.180.0.0/30",  "0.0.0.0/0"};
            for (std::size_t i = 0; i < ranges; ++i)
                service.load_balancer_source_ranges.push_back(
                    range(chance(90) ? family : other(family), pick(kRanges)));
        }
    }
    if (kind == 0 || chance(30)) {
        static const std::vector<std::string> kExternal{"1.2.3.1",     "1.2.3.2", "1.2.3.3",    "192.168.99.11",
                                                        "192.168.0.2", "5.6.7.1", "172.30.0.12"};
        const std::size_t count = 1 + below(2);
        for (std::size_t i = 0; i < count; ++i)
            service.external_ips.push_back(in_family(chance(90) ? family : other(family), pick(kExternal)));
    }
}

std::shared_ptr<api::EndpointSlice> WorldMaker::slice(net::Family family, const api::Service& service,
                                                      std::size_t number) {
    auto made = std::make_shared<api::EndpointSlice>();
    made->namespace_ = service.namespace_;
    made->name = fmt::format("{}-{}", service.name, number);
    made->service_name = service.name;
    made->address_type = family == net::Family::kIpv4 ? api::AddressType::kIpv4 : api::AddressType::kIpv6;
    for (const auto& port : service.ports)
        if (chance(90)) made->ports.push_back({port.name, port.protocol, pick(kTargetPorts)});
    static const std::vector<std::size_t> kCounts{0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 9, 17, 33};
    const std::size_t count = pick(kCounts);
    // All or most endpoints carry hints, or none does: one without switches them off.
    static const std::vector<unsigned> kHinted{0, 0, 100, 100, 90};
    const unsigned hinted = pick(kHinted);
    for (std::size_t i = 0; i < count; ++i) made->endpoints.push_back(endpoint(family, *made, hinted));
    return made;
}

api::Endpoint WorldMaker::endpoint(net::Family family, api::EndpointSlice& slice, unsigned hinted) {
    api::Endpoint made;
    const bool local = chance(50);
    // Now and then a pod with the network of its host.
    made.address =
        local && chance(3)
            ? in_family(family, "192.168.0.2")
            : in_family(family, fmt::format("10.{}.0.{}", local ? 180 : 181, 1 + below(chance(70) ? 8 : 40)));
    const auto index_of = [](auto& list, const auto& value) {
        const auto found = std::find(list.begin(), list.end(), value);
        if (found != list.end()) return static_cast<std::uint16_t>(found - list.begin());
        list.push_back(value);
        return static_cast<std::uint16_t>(list.size() - 1);
    };
    if (local || chance(80)) made.node = index_of(slice.node_names, std::string(local ? "test-node" : "other-node"));
    switch (below(10)) {
        case 0: made.ready = made.serving = false; break;
        case 1:
            made.ready = false;
            made.terminating = true;
            break;
        case 2:
            made.ready = made.serving = false;
            made.terminating = true;
            break;
        default: break;
    }
    if (chance(hinted)) {
        api::Hints hints;
        if (chance(80)) hints.zones.push_back(pick(kZones));
        if (chance(30)) hints.nodes.emplace_back(local ? "test-node" : "other-node");
        if (!hints.zones.empty() || !hints.nodes.empty()) made.hints = index_of(slice.hints, hints);
    }
    return made;
}

std::vector<api::Change> WorldMaker::changes(const World& world) {
    Objects touched;
    std::set<api::ObjectKey> removed;
    const std::size_t count = chance(70) ? 1 + below(3) : 1 + below(10);
    for (std::size_t i = 0; i < count; ++i) change_one(world, touched, removed);
    std::vector<api::Change> changes;
    for (const auto& [key, object] : touched)
        if (!removed.contains(key)) changes.push_back({key, object});
    for (const auto& key : removed) changes.push_back({key, std::nullopt});
    return changes;
}

void WorldMaker::change_one(const World& world, Objects& touched, std::set<api::ObjectKey>& removed) {
    const auto put = [&](api::Object object) { touched.insert_or_assign(api::key_of(object), std::move(object)); };
    if (world.objects.empty() || chance(15)) {
        const auto made = service(world.family, below(kServices));
        if (chance(80)) put(std::shared_ptr<const api::EndpointSlice>(slice(world.family, *made, 0)));
        return put(std::shared_ptr<const api::Service>(made));
    }
    if (chance(5)) return put(node(world.family));
    if (chance(5)) return put(service_cidr(world.family));
    auto at = world.objects.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(below(world.objects.size())));
    if (chance(20)) {
        removed.insert(at->first);
        return;
    }
    if (const auto* service = std::get_if<std::shared_ptr<const api::Service>>(&at->second)) {
        auto copy = std::make_shared<api::Service>(**service);
        change_service(world.family, *copy);
        put(std::shared_ptr<const api::Service>(copy));
    } else if (const auto* old = std::get_if<std::shared_ptr<const api::EndpointSlice>>(&at->second)) {
        auto copy = std::make_shared<api::EndpointSlice>(**old);
        change_slice(world.family, *copy);
        put(std::shared_ptr<const api::EndpointSlice>(copy));
    }
}

void WorldMaker::change_service(net::Family family, api::Service& service) {
    const auto fresh = this->service(family, below(kServices));
    const auto flip = [](api::TrafficPolicy& policy) {
        policy = policy == api::TrafficPolicy::kLocal ? api::TrafficPolicy::kCluster : api::TrafficPolicy::kLocal;
    };
    switch (below(10)) {
        case 0: flip(service.internal_traffic_policy); break;
        case 1: flip(service.external_traffic_policy); break;
        case 2: service.affinity_seconds = service.affinity_seconds == 0 ? 600 : chance(50) ? 0 : 10800; break;
        case 3: service.external_ips = fresh->external_ips; break;
        case 4: service.load_balancer_vips = fresh->load_balancer_vips; break;
        case 5: service.load_balancer_source_ranges = fresh->load_balancer_source_ranges; break;
        case 6: service.ports = fresh->ports; break;
        case 7:
            pick(std::vector<api::ServicePort*>{&service.ports.front(), &service.ports.back()})->node_port =
                pick(kNodePorts);
            break;
        case 8: service.type = fresh->type; break;
        default:
            service.cluster_ip = fresh->cluster_ip;
            service.cluster_ips = fresh->cluster_ips;
            service.ip_families = fresh->ip_families;
    }
}

void WorldMaker::change_slice(net::Family family, api::EndpointSlice& slice) {
    const std::size_t count = 1 + below(4);
    for (std::size_t i = 0; i < count; ++i) {
        if (slice.endpoints.empty() || chance(40)) {
            slice.endpoints.push_back(endpoint(family, slice, slice.hints.empty() ? 0 : 100));
            continue;
        }
        const auto at = slice.endpoints.begin() + static_cast<std::ptrdiff_t>(below(slice.endpoints.size()));
        switch (below(4)) {
            case 0: at->ready = !at->ready; break;
            case 1:
                at->terminating = !at->terminating;
                at->ready = false;
                break;
            default: slice.endpoints.erase(at);
        }
    }
    if (chance(10)) slice.endpoints.clear();
    if (chance(10) && !slice.ports.empty()) slice.ports.front().port = pick(kTargetPorts);
}

std::vector<testnet::Probe> WorldMaker::probes(const World& world, const plan::Plan& plan,
                                               const std::vector<net::IpAddress>& node_addresses, std::size_t count) {
    std::vector<net::IpAddress> own;
    for (const auto& address : node_addresses)
        if (address.family() == world.family && !address.is_loopback()) own.push_back(address);
    std::vector<testnet::Probe> probes;
    while (probes.size() < count) {
        testnet::Probe probe;
        choose_destination(probe, plan, own);
        choose_source(probe, plan);
        probes.push_back(probe);
    }
    return probes;
}

void WorldMaker::choose_destination(testnet::Probe& probe, const plan::Plan& plan,
                                    const std::vector<net::IpAddress>& node_addresses) {
    probe.protocol = pick(kProtocols);
    probe.port = pick(kServicePorts);
    const auto dice = below(100);
    if (dice < 80 && !plan.service_ports.empty()) {
        auto at = plan.service_ports.begin();
        std::advance(at, static_cast<std::ptrdiff_t>(below(plan.service_ports.size())));
        if (!at->second->destinations.empty()) {
            const auto& key = pick(at->second->destinations).key;
            probe.destination = key.node_port ? pick(node_addresses) : key.address;
            probe.protocol = key.protocol;
            probe.port = key.port;
            // Nearly right: another port, protocol, or address.
            if (chance(6)) probe.port = pick(kServicePorts);
            if (chance(4)) probe.protocol = pick(kProtocols);
            if (chance(3)) probe.destination = pick(node_addresses);
            return;
        }
    }
    static const std::vector<std::string> kElsewhere{"1.2.3.1",    "5.6.7.2",    "9.9.9.9",
                                                     "10.180.0.1", "10.181.0.1", "10.180.0.7"};
    if (dice < 88)
        probe.destination = in_family(plan.family, fmt::format("172.30.0.{}", 8 + below(kServices + 4)));
    else if (dice < 94)
        probe.destination = in_family(plan.family, pick(kElsewhere));
    else
        probe.destination = pick(node_addresses);
    if (chance(20)) probe.port = chance(50) ? 9 : pick(kNodePorts);
}

void WorldMaker::choose_source(testnet::Probe& probe, const plan::Plan& plan) {
    const auto choose = [&](Place place, const std::string& ipv4) {
        probe.from = place;
        probe.source = in_family(plan.family, ipv4);
    };
    const auto dice = below(100);
    if (dice < 20) return choose(Place::kPods, fmt::format("10.0.0.{}", 2 + below(3)));
    if (dice < 40) return choose(Place::kPods, fmt::format("10.180.0.{}", 1 + below(10)));
    if (dice < 60) return choose(Place::kNode, pick(kNodeAddresses));
    if (dice < 70) return choose(Place::kRemote, fmt::format("10.181.0.{}", 1 + below(8)));
    choose(Place::kOutside, pick(kOutsiders));
}

}  // namespace ghostip::packets

// For tests: random worlds. A sequence of small commands that become object changes, so that rapidcheck can take
// commands away until only those are left that matter.
//
// Names and addresses come from few, so that services meet each other, slices move between services and overlap, and
// most changes change something.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include <rapidcheck.h>

#include "api/objects.h"
#include "plan/plan_testing.h"

namespace ghostip::plan::testing {

struct Command {
    enum class What : std::uint8_t { kService, kSlice, kNode, kServiceCidr, kHost };
    What what = What::kService;
    bool remove = false;      // else put
    bool ends_batch = false;  // the planner is asked after this one
    std::uint8_t index = 0;   // which object of its kind
    std::uint32_t seed = 0;   // decides its content

    friend std::ostream& operator<<(std::ostream& out, const Command& c) {
        static constexpr const char* kWhat[] = {"service", "slice", "node", "ServiceCIDR", "host"};
        return out << (c.remove ? "remove " : "put ") << kWhat[static_cast<std::size_t>(c.what)] << ' ' << int{c.index}
                   << " seed " << c.seed << (c.ends_batch ? ".\n" : "; ");
    }
};

// The objects of a cluster and the host, changed by commands.
class World {
  public:
    using Objects = std::map<api::ObjectKey, api::Object>;

    World(net::Family family, std::uint32_t seed) : family_(family) {
        random_.seed(seed);
        settings_ = node_settings();
        settings_.detect_local_mode =
            pick(std::vector{DetectLocalMode::kClusterCidr, DetectLocalMode::kClusterCidr, DetectLocalMode::kNodeCidr,
                             DetectLocalMode::kInterfaceNamePrefix});
        settings_.pod_interface = "cni";
        settings_.masquerade_all = chance(20);
        if (chance(30)) settings_.node_port_ranges = cidrs({"192.168.0.0/16", "2001:db8::/32"});
        if (chance(20)) settings_.node_port_ranges = cidrs({"0.0.0.0/0", "::/0"});
        if (chance(20)) settings_.node_ports_on_primary = true;
        if (chance(30))
            settings_.external_ranges = {
                {"", cidr("1.2.3.0/24")}, {"other", cidr("5.6.7.0/24")}, {"ns", cidr("2001:db8:f::1/128")}};
        if (chance(10)) settings_.api_servers = ips({"172.30.0.250"});
    }

    [[nodiscard]] net::Family family() const { return family_; }
    [[nodiscard]] const NodeSettings& settings() const { return settings_; }
    [[nodiscard]] const HostFacts& host() const { return host_; }
    [[nodiscard]] const Objects& objects() const { return objects_; }

    // Does the command; absent if only the host changed.
    std::optional<api::Change> change(const Command& command) {
        random_.seed(command.seed);
        if (command.what == Command::What::kHost) {
            host_ = command.remove ? host_facts() : make_host();
            return std::nullopt;
        }
        const api::Object object = make(command);
        const api::ObjectKey key = api::key_of(object);
        if (command.remove) {
            objects_.erase(key);
            return api::Change{key, std::nullopt};
        }
        objects_.insert_or_assign(key, object);
        return api::Change{key, object};
    }

  private:
    [[nodiscard]] std::size_t below(std::size_t limit) { return random_() % limit; }
    [[nodiscard]] bool chance(unsigned percent) { return below(100) < percent; }
    template <typename T>
    [[nodiscard]] T pick(const std::vector<T>& from) {
        return from[below(from.size())];
    }
    template <typename T>
    [[nodiscard]] std::vector<T> some(std::vector<T> from) {
        std::erase_if(from, [this](const T&) { return chance(50); });
        return from;
    }
    [[nodiscard]] api::TrafficPolicy policy() {
        return chance(40) ? api::TrafficPolicy::kLocal : api::TrafficPolicy::kCluster;
    }

    [[nodiscard]] HostFacts make_host() {
        HostFacts host{some(host_facts().addresses),
                       some(ips({"192.168.0.1", "172.30.0.254", "10.97.0.1", "fe80::1", "fd00:30::fe"}))};
        if (chance(20)) host.addresses.push_back(ip(family_ == net::Family::kIpv4 ? "172.30.0.10" : "fd00:30::10"));
        return host;
    }

    [[nodiscard]] api::Object make(const Command& command) {
        switch (command.what) {
            case Command::What::kService: return std::make_shared<const api::Service>(make_service(command.index));
            case Command::What::kSlice: return std::make_shared<const api::EndpointSlice>(make_slice(command.index));
            case Command::What::kNode: return std::make_shared<const api::Node>(make_node(command.index));
            default: break;
        }
        return std::make_shared<const api::ServiceCidr>(api::ServiceCidr{
            "cidr-" + std::to_string(command.index % 2),
            some(cidrs({"172.30.0.0/16", "10.96.0.0/12", "10.180.0.0/29", "fd00:30::/112", "fd00:10::/125"}))});
    }

    [[nodiscard]] api::Service make_service(std::size_t index) {
        const auto number = std::to_string(1 + below(6));
        const auto cluster_ips = ips({"172.30.0." + number, "fd00:30::" + number});
        api::Service s = service("s" + std::to_string(index % 6), "0.0.0.0", {});
        if (index % 2 == 1) s.namespace_ = "other";
        s.type = pick(std::vector{api::ServiceType::kClusterIp, api::ServiceType::kNodePort,
                                  api::ServiceType::kLoadBalancer, api::ServiceType::kLoadBalancer});
        s.headless = chance(5);
        s.cluster_ips = cluster_ips;
        s.ip_families = {net::Family::kIpv4, net::Family::kIpv6};
        if (chance(10)) {
            s.cluster_ips.pop_back();
            s.ip_families.pop_back();
        }
        s.cluster_ip = s.cluster_ips.front();
        const std::vector<std::string> names{"", "p", "q"};
        for (const auto& name : some(names))
            s.ports.push_back(service_port(
                name, pick(std::vector<std::uint16_t>{80, 53}),
                pick(std::vector{net::Protocol::kTcp, net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp}),
                s.type == api::ServiceType::kClusterIp ? std::uint16_t{0}
                                                       : pick(std::vector<std::uint16_t>{0, 30000, 30001})));
        const auto contested =
            ips({"1.2.3.4", "5.6.7.8", "172.30.0.1", "2001:db8:f::1", "2001:db8:f::2", "fd00:30::1"});
        if (chance(40)) s.external_ips = some(contested);
        if (s.type == api::ServiceType::kLoadBalancer) s.load_balancer_vips = some(contested);
        if (chance(40))
            s.load_balancer_source_ranges =
                some(cidrs({"10.0.0.0/8", "192.168.0.0/24", "203.0.113.0/25", "fd00:10::/64", "2001:db8::/64"}));
        if (chance(5)) s.load_balancer_source_ranges.push_back(cidr("0.0.0.0/0"));
        s.affinity_seconds = pick(std::vector<std::uint32_t>{0, 0, 100, 10800});
        s.external_traffic_policy = policy();
        s.internal_traffic_policy = policy();
        s.health_check_node_port = chance(80) ? std::uint16_t{32000} : std::uint16_t{0};
        if (chance(20)) s.scheduler = pick(std::vector<std::string>{"wrr", "lc", "sh"});
        if (chance(20)) s.endpoint_weights = make_weights();
        return s;
    }

    [[nodiscard]] api::EndpointSlice make_slice(std::size_t index) {
        std::vector<Ep> endpoints;
        const bool hinted = chance(30);
        const std::size_t count = below(chance(20) ? 20 : 5);
        for (std::size_t i = 0; i < count; ++i) {
            const auto number = std::to_string(1 + below(12));
            Ep ep{family_ == net::Family::kIpv4 ? "10.180.0." + number : "fd00:10::" + number,
                  pick(std::vector<std::string>{"r", "r", "r", "r", "st", "t", "u", "rt"}),
                  pick(std::vector<std::string>{"test-node", "other", ""})};
            if (chance(3)) ep.address = family_ == net::Family::kIpv4 ? "127.0.0.1" : "fe80::5";
            if (hinted && chance(90)) ep.zones = some(std::vector<std::string>{"a", "b"});
            if (hinted && chance(30)) ep.nodes = {pick(std::vector<std::string>{"test-node", "other"})};
            endpoints.push_back(ep);
        }
        std::vector<api::SlicePort> ports;
        for (const auto* name : {"", "p", "q"})
            for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp})
                if (chance(80))
                    ports.push_back(slice_port(name, pick(std::vector<std::uint16_t>{8080, 8080, 8443, 0}), protocol));
        const std::size_t owner = 2 * below(3) + index % 2;  // of the same namespace
        api::EndpointSlice s =
            slice("slice-" + std::to_string(index % 8), "s" + std::to_string(owner), ports, endpoints);
        if (index % 2 == 1) s.namespace_ = "other";
        if (index == 5 && chance(50)) {
            s.namespace_ = "default";
            s.service_name = "kubernetes";
        }
        s.address_type = family_ == net::Family::kIpv4 ? api::AddressType::kIpv4 : api::AddressType::kIpv6;
        if (chance(5)) s.address_type = api::AddressType::kOther;
        if (chance(5)) s.service_name.clear();
        if (chance(20)) s.endpoint_weights = make_weights();
        return s;
    }

    [[nodiscard]] std::vector<api::EndpointWeight> make_weights() {
        std::vector<api::EndpointWeight> weights;
        for (const auto* number : {"1", "2", "3", "4"})
            if (chance(40))
                weights.push_back(
                    {ip((family_ == net::Family::kIpv4 ? "10.180.0." : "fd00:10::") + std::string(number)),
                     pick(std::vector<std::uint32_t>{0, 1, 3, 65535})});
        return weights;
    }

    [[nodiscard]] api::Node make_node(std::size_t index) {
        api::Node node = node_object();
        if (index % 4 == 3) node.name = "other";
        node.zone = pick(std::vector<std::string>{"", "a", "b"});
        node.addresses = some(node.addresses);
        node.pod_cidrs = some(cidrs({"10.180.0.0/24", "fd00:10::/80"}));
        return node;
    }

    const net::Family family_;
    NodeSettings settings_;
    HostFacts host_ = host_facts();
    Objects objects_;
    std::mt19937 random_;
};

}  // namespace ghostip::plan::testing

template <>
struct rc::Arbitrary<ghostip::plan::testing::Command> {
    using Command = ghostip::plan::testing::Command;
    static Gen<Command> arbitrary() {
        using What = Command::What;
        return gen::build<Command>(gen::set(&Command::what, gen::weightedElement<What>({{8, What::kService},
                                                                                        {12, What::kSlice},
                                                                                        {1, What::kNode},
                                                                                        {1, What::kServiceCidr},
                                                                                        {1, What::kHost}})),
                                   gen::set(&Command::remove, gen::weightedElement<bool>({{4, false}, {1, true}})),
                                   gen::set(&Command::ends_batch, gen::arbitrary<bool>()),
                                   gen::set(&Command::index, gen::inRange<std::uint8_t>(0, 12)),
                                   // Few seeds, so that the same object often comes again as it was.
                                   gen::set(&Command::seed, gen::weightedOneOf<std::uint32_t>(
                                                                {{1, gen::inRange<std::uint32_t>(0, 4)},
                                                                 {3, gen::inRange<std::uint32_t>(0, 1U << 30)}})));
    }
};

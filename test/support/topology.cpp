#include "support/topology.h"

#include <algorithm>

#include <fmt/format.h>

#include "support/twin.h"

namespace ghostip::testnet {
namespace {

constexpr std::array<Place, 3> kNeighbours{Place::kPods, Place::kRemote, Place::kOutside};
constexpr std::array<std::string_view, 3> kOwnAddresses{"192.168.0.2", "192.168.1.2", "192.168.99.11"};

int number(Place neighbour) { return static_cast<int>(neighbour) - 1; }

net::IpAddress node_side(Place neighbour, net::Family family) {
    return in_family(family, fmt::format("192.168.254.{}", 4 * number(neighbour) + 1));
}
net::IpAddress far_side(Place neighbour, net::Family family) {
    return in_family(family, fmt::format("192.168.254.{}", 4 * number(neighbour) + 2));
}
std::string node_mac(Place neighbour) { return fmt::format("02:00:00:00:{:02x}:01", number(neighbour)); }
std::string far_mac(Place neighbour) { return fmt::format("02:00:00:00:{:02x}:02", number(neighbour)); }

net::Prefix default_of(net::Family family) { return {net::IpAddress(family), 0}; }

net::Prefix range(net::Family family, std::string_view ipv4) {
    const auto prefix = *net::Prefix::parse_lenient(ipv4);
    return family == net::Family::kIpv4 ? prefix : twin(prefix);
}

std::string route(const net::Prefix& to, Place neighbour, std::string_view verb) {
    return fmt::format("route {} {} via {} dev {} onlink\n", verb, to.text(), far_side(neighbour, to.family()).text(),
                       place_name(neighbour));
}

std::string host_length(net::Family family) { return family == net::Family::kIpv4 ? "/32" : "/128"; }
std::string no_dad(net::Family family) { return family == net::Family::kIpv4 ? "" : " nodad"; }

std::vector<std::pair<std::string, std::string>> settings_of_node() {
    return {{"net/ipv4/ip_forward", "1"},
            {"net/ipv6/conf/all/forwarding", "1"},
            {"net/ipv4/conf/all/rp_filter", "0"},
            {"net/ipv4/conf/default/rp_filter", "0"},
            {"net/ipv4/conf/all/send_redirects", "0"},
            {"net/ipv4/conf/default/send_redirects", "0"},
            {"net/ipv6/conf/default/accept_dad", "0"},
            // Every rejected probe must hear of it, however many there are a second.
            {"net/ipv4/icmp_ratemask", "0"},
            {"net/ipv4/icmp_ratelimit", "0"},
            {"net/ipv6/icmp/ratelimit", "0"},
            {"net/ipv6/icmp/ratemask", "3"}};
}

std::vector<std::pair<std::string, std::string>> settings_of_neighbours() {
    return {{"net/ipv4/conf/all/rp_filter", "0"},
            {"net/ipv4/conf/default/rp_filter", "0"},
            // A packet may come from an address that is its receiver's own: all pods share a namespace.
            {"net/ipv4/conf/all/accept_local", "1"},
            {"net/ipv4/conf/default/accept_local", "1"},
            {"net/ipv4/conf/all/accept_redirects", "0"},
            {"net/ipv4/ip_nonlocal_bind", "1"},
            {"net/ipv6/ip_nonlocal_bind", "1"},
            {"net/ipv6/conf/all/accept_redirects", "0"},
            {"net/ipv6/conf/default/accept_dad", "0"},
            {"net/ipv6/conf/default/accept_ra", "0"}};
}

std::string node_lines(net::Family family) {
    std::string lines;
    for (const auto own : kOwnAddresses)
        lines +=
            fmt::format("addr add {}{} dev lo{}\n", in_family(family, own).text(), host_length(family), no_dad(family));
    for (const auto neighbour : kNeighbours) {
        const auto name = place_name(neighbour);
        lines += fmt::format("addr add {}/{} dev {}{}\n", node_side(neighbour, family).text(), address_bits(family) - 2,
                             name, no_dad(family));
        lines += fmt::format("neigh add {} lladdr {} dev {} nud permanent\n", far_side(neighbour, family).text(),
                             far_mac(neighbour), name);
    }
    return lines;
}

std::string neighbour_lines(Place neighbour, net::Family family) {
    const auto node = node_side(neighbour, family).text();
    std::string lines;
    lines += fmt::format("addr add {}/{} dev eth0{}\n", far_side(neighbour, family).text(), address_bits(family) - 2,
                         no_dad(family));
    lines += fmt::format("neigh add {} lladdr {} dev eth0 nud permanent\n", node, node_mac(neighbour));
    lines += fmt::format("route add {} via {} dev eth0 table 100 onlink\n", default_of(family).text(), node);
    lines += fmt::format("route add local {} dev lo table local\n", default_of(family).text());
    // What is sent from here (its input interface is lo) goes to the node before the local table is asked.
    lines += "rule add pref 10 iif lo lookup 100\n";
    lines += "rule add pref 20 lookup local\n";
    lines += "rule del pref 0\n";
    return lines;
}

}  // namespace

std::string_view place_name(Place place) {
    switch (place) {
        case Place::kNode: return "node";
        case Place::kPods: return "pods";
        case Place::kRemote: return "remote";
        case Place::kOutside: return "outside";
    }
    return "?";
}

Result<void> ip_batch(const Namespace& where, net::Family family, const std::string& lines) {
    const auto ran = where.must_run({"ip", family == net::Family::kIpv4 ? "-4" : "-6", "-batch", "-"}, lines);
    if (!ran) return ran.error().within(fmt::format("in\n{}", lines));
    return {};
}

Result<std::unique_ptr<Topology>> Topology::create() {
    std::vector<Namespace> namespaces;
    for ([[maybe_unused]] const auto place : kPlaces) {
        ASSIGN_OR_RETURN(Namespace made, Namespace::create());
        namespaces.push_back(std::move(made));
    }
    auto topology = std::unique_ptr<Topology>(new Topology(std::move(namespaces)));
    RETURN_IF_ERROR(topology->build());
    return topology;
}

Result<void> Topology::build() {
    for (const auto& [name, value] : settings_of_node()) RETURN_IF_ERROR(node().sysctl(name, value));
    for (const auto neighbour : kNeighbours)
        for (const auto& [name, value] : settings_of_neighbours()) RETURN_IF_ERROR(at(neighbour).sysctl(name, value));

    std::string links;
    for (const auto neighbour : kNeighbours) {
        const auto name = place_name(neighbour);
        links += fmt::format("link add {} address {} type veth peer name eth0 address {} netns {}\n", name,
                             node_mac(neighbour), far_mac(neighbour), at(neighbour).path());
        links += fmt::format("link set {} addrgenmode none\nlink set {} up\n", name, name);
    }
    RETURN_IF_ERROR(ip_batch(node(), net::Family::kIpv4, links));
    for (const auto neighbour : kNeighbours)
        RETURN_IF_ERROR(
            ip_batch(at(neighbour), net::Family::kIpv4, "link set eth0 addrgenmode none\nlink set eth0 up\n"));

    for (const auto family : net::kFamilies) {
        routes_.emplace_back(range(family, "10.181.0.0/16"), Place::kRemote);
        routes_.emplace_back(range(family, "10.0.0.0/8"), Place::kPods);
        routes_.emplace_back(default_of(family), Place::kOutside);
        std::string lines = node_lines(family);
        for (const auto& [prefix, neighbour] : routes_)
            if (prefix.family() == family) lines += route(prefix, neighbour, "add");
        RETURN_IF_ERROR(ip_batch(node(), family, lines));
        for (const auto neighbour : kNeighbours)
            RETURN_IF_ERROR(ip_batch(at(neighbour), family, neighbour_lines(neighbour, family)));

        node_addresses_.push_back(*net::IpAddress::parse(family == net::Family::kIpv4 ? "127.0.0.1" : "::1"));
        for (const auto own : kOwnAddresses) node_addresses_.push_back(in_family(family, own));
        for (const auto neighbour : kNeighbours) node_addresses_.push_back(node_side(neighbour, family));
    }
    return {};
}

net::IpAddress Topology::link_address(Place neighbour, net::Family family) const {
    if (neighbour == Place::kNode) return in_family(family, kOwnAddresses[0]);
    return node_side(neighbour, family);
}

Place Topology::place_of(const net::IpAddress& address) const {
    if (std::find(node_addresses_.begin(), node_addresses_.end(), address) != node_addresses_.end())
        return Place::kNode;
    if (const auto found = moved_.find(address); found != moved_.end()) return found->second;
    for (const auto& [prefix, place] : routes_)
        if (prefix.contains(address)) return place;
    return Place::kOutside;
}

Result<void> Topology::move(std::map<net::IpAddress, Place> moved) {
    // What the node has itself stays there.
    for (const auto& own : node_addresses_) moved.erase(own);
    for (const auto family : net::kFamilies) {
        std::string lines;
        for (const auto& [address, place] : moved_)
            if (address.family() == family) lines += route(net::Prefix::host(address), place, "del");
        for (const auto& [address, place] : moved)
            if (address.family() == family) lines += route(net::Prefix::host(address), place, "add");
        if (!lines.empty()) RETURN_IF_ERROR(ip_batch(node(), family, lines));
    }
    moved_ = std::move(moved);
    return {};
}

}  // namespace ghostip::testnet

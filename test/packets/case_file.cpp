#include "packets/case_file.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "packets/yaml.h"
#include "support/twin.h"

namespace ghostip::packets {
namespace {

using testnet::Place;

enum class Mapping { kNone, kTwin };

struct Reader {
    const std::string& mode;
    Mapping mapping;

    // Addresses of a case are IPv4 as written, unless the case is meant as written.
    [[nodiscard]] std::string map(const std::string& text) const {
        return mapping == Mapping::kTwin ? testnet::twin_text(text) : text;
    }
    [[nodiscard]] Result<net::IpAddress> address(const std::string& text, std::size_t line) const {
        const auto parsed = net::IpAddress::parse_lenient(text);
        if (!parsed) return fail("line {}: {} is not an address", line, text);
        return mapping == Mapping::kTwin && parsed->is_ipv4() ? testnet::twin(*parsed) : *parsed;
    }
    [[nodiscard]] Result<HostPort> host_port(const std::string& text, std::size_t line) const {
        const auto colon = text.rfind(':');
        HostPort result;
        if (colon == std::string::npos) return fail("line {}: {} has no port", line, text);
        std::string host = text.substr(0, colon);
        if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
        ASSIGN_OR_RETURN(result.address, address(host, line));
        const char* end = text.data() + text.size();
        if (std::from_chars(text.data() + colon + 1, end, result.port).ptr != end)
            return fail("line {}: {}: bad port", line, text);
        return result;
    }
    [[nodiscard]] Result<Client> client(const Yaml& yaml) const {
        static const std::map<std::string, std::pair<Place, const char*>> names{
            {"pod", {Place::kPods, "10.0.0.2"}},
            {"node", {Place::kNode, "192.168.0.2"}},
            {"outside", {Place::kOutside, "203.0.113.2"}},
            {"blocked", {Place::kOutside, "203.0.113.130"}}};
        Client result;
        const auto known = names.find(yaml.text);
        ASSIGN_OR_RETURN(result.address, address(known == names.end() ? yaml.text : known->second.second, yaml.line));
        if (known != names.end()) result.place = known->second.first;
        return result;
    }
    [[nodiscard]] Result<Expectation> expectation(const Yaml& yaml) const {
        Expectation result;
        if (yaml.kind == Yaml::Kind::kScalar) {
            if (yaml.text == "reject")
                result.what = Expectation::What::kReject;
            else if (yaml.text == "drop")
                result.what = Expectation::What::kDrop;
            else if (yaml.text != "none")
                return fail("line {}: expect {}: not endpoints, reject, drop or none", yaml.line, yaml.text);
            return result;
        }
        const auto* endpoints = yaml.find("endpoints");
        if (endpoints == nullptr) return fail("line {}: expect has no endpoints", yaml.line);
        result.what = Expectation::What::kEndpoints;
        for (const auto& endpoint : endpoints->as_list()) {
            ASSIGN_OR_RETURN(const HostPort parsed, host_port(endpoint.text, endpoint.line));
            result.endpoints.insert(parsed);
        }
        static const std::map<std::string, Expectation::Source> sources{
            {"", Expectation::Source::kAny},
            {"kept", Expectation::Source::kKept},
            {"masqueraded", Expectation::Source::kMasqueraded},
            {"hairpin", Expectation::Source::kHairpin}};
        const auto source = sources.find(yaml.get("source"));
        if (source == sources.end()) return fail("line {}: source: not kept, masqueraded or hairpin", yaml.line);
        result.source = source->second;
        result.sticky = yaml.get("sticky") == "true";
        return result;
    }
    [[nodiscard]] Result<FlowCase> flow(const Yaml& yaml) const {
        FlowCase result;
        result.line = yaml.line;
        const auto* from = yaml.find("from");
        const auto* to = yaml.find("to");
        const Yaml* expect = yaml.find("expect");
        if (const auto* by_mode = yaml.find("expect-in"); by_mode != nullptr)
            if (const auto* own = by_mode->find(mode); own != nullptr) expect = own;
        if (from == nullptr || to == nullptr || expect == nullptr)
            return fail("line {}: a flow has from, to and expect", yaml.line);
        for (const auto& item : from->as_list()) {
            ASSIGN_OR_RETURN(Client parsed, client(item));
            result.from.push_back(parsed);
        }
        ASSIGN_OR_RETURN(result.to, host_port(to->text, to->line));
        if (const auto* protocol = yaml.find("protocol"); protocol != nullptr) {
            const auto parsed = net::parse_protocol(protocol->text);
            if (!parsed) return fail("line {}: {} is no protocol", protocol->line, protocol->text);
            result.protocol = *parsed;
        }
        if (const auto count = yaml.get("connections"); !count.empty())
            result.connections = static_cast<std::size_t>(std::stoul(count));
        ASSIGN_OR_RETURN(result.expect, expectation(*expect));
        const bool relayed = mode == "userspace" && result.protocol != net::Protocol::kSctp;
        if (relayed && result.expect.what == Expectation::What::kEndpoints)
            result.expect.source = Expectation::Source::kRelayed;
        return result;
    }
    [[nodiscard]] Result<Step> step(const Yaml& yaml, const std::string& defaults) const;
};

// Where the slices say that their endpoints live, and on which ports.
Result<void> read_endpoints(Step& step) {
    ASSIGN_OR_RETURN(const auto documents, parse_yaml(step.objects));
    for (const auto& object : documents) {
        if (object.get("kind") != "EndpointSlice") continue;
        if (const auto* ports = object.find("ports"); ports != nullptr)
            for (const auto& port : ports->items)
                if (const auto text = port.get("port"); !text.empty() && text != "null" && text != "0")
                    step.ports.insert(static_cast<std::uint16_t>(std::stoul(text)));
        const auto* endpoints = object.find("endpoints");
        if (endpoints == nullptr) continue;
        for (const auto& endpoint : endpoints->items) {
            const auto* addresses = endpoint.find("addresses");
            if (addresses == nullptr || addresses->items.empty()) continue;
            const auto address = net::IpAddress::parse_lenient(addresses->items.front().text);
            if (!address) return fail("objects, line {}: bad endpoint address", endpoint.line);
            step.endpoints[*address] = endpoint.get("nodeName") == "test-node" ? Place::kPods : Place::kRemote;
        }
    }
    return {};
}

Result<Step> Reader::step(const Yaml& yaml, const std::string& defaults) const {
    Step result;
    result.about = yaml.get("about");
    result.objects = defaults + map(yaml.get("objects"));
    if (auto read = read_endpoints(result); !read) return read.error().within(fmt::format("line {}", yaml.line));
    if (const auto* flows = yaml.find("flows"); flows != nullptr)
        for (const auto& item : flows->items) {
            ASSIGN_OR_RETURN(FlowCase parsed, flow(item));
            result.ports.insert(parsed.to.port);
            result.flows.push_back(std::move(parsed));
        }
    return result;
}

// The objects that every case has unless it says otherwise: this node, and the range that services live in.
std::string default_objects(const Yaml& node, Mapping mapping, bool has_own_node) {
    std::string text;
    if (!has_own_node) {
        text = "apiVersion: v1\nkind: Node\nmetadata:\n  name: test-node\n";
        if (const auto zone = node.get("zone"); !zone.empty())
            text += fmt::format("  labels:\n    topology.kubernetes.io/zone: {}\n", zone);
        text +=
            "status:\n  addresses:\n  - {type: InternalIP, address: 192.168.0.2}\n  - {type: InternalIP, address: "
            "\"2001:db8::1\"}\n---\n";
    }
    std::vector<std::string> ranges{"172.30.0.0/16",
                                    testnet::twin(*net::Prefix::parse_lenient("172.30.0.0/16")).text()};
    if (const auto* own = node.find("service-cidrs"); own != nullptr) {
        ranges.clear();
        for (const auto& range : own->items)
            ranges.push_back(mapping == Mapping::kTwin ? testnet::twin_text(range.text) : range.text);
    }
    if (!ranges.empty())
        text += fmt::format(
            "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata:\n  name: kubernetes\nspec:\n  cidrs: "
            "[\"{}\"]\n---\n",
            fmt::join(ranges, "\", \""));
    return text;
}

Result<std::vector<std::string>> read_flags(const Yaml& node, const Reader& reader) {
    static const std::set<std::string> passed_on{"detect-local-mode", "pod-bridge-interface",
                                                 "pod-interface-name-prefix", "iptables-masquerade-bit"};
    std::string cluster_cidr = "10.0.0.0/8,fd00:10::/64";
    std::vector<std::string> flags;
    for (const auto& [name, value] : node.fields) {
        if (name == "zone" || name == "service-cidrs") continue;
        if (name == "cluster-cidr")
            cluster_cidr = value.text == "none" ? "" : reader.map(value.text);
        else if (name == "masquerade-all")
            flags.emplace_back(value.text == "true" ? "--masquerade-all" : "--masquerade-all=false");
        else if (name == "nodeport-addresses") {
            flags.emplace_back("--nodeport-addresses");
            flags.push_back(reader.map(value.text));
        } else if (name == "allowed-external-ips") {
            flags.emplace_back("--allowed-external-ips");
            flags.push_back(reader.map(value.text));
        } else if (passed_on.contains(name)) {
            flags.push_back("--" + name);
            flags.push_back(value.text);
        } else {
            return fail("line {}: unknown option {} of the node", value.line, name);
        }
    }
    if (!cluster_cidr.empty()) {
        flags.emplace_back("--cluster-cidr");
        flags.push_back(cluster_cidr);
    }
    return flags;
}

Result<Case> read_case(const Yaml& yaml, const std::string& name, const std::string& family, const std::string& mode) {
    Case result;
    result.name = name;
    result.family = family;
    result.about = yaml.get("about");
    const Reader reader{mode, family == "IPv6" ? Mapping::kTwin : Mapping::kNone};
    const Yaml nothing{.kind = Yaml::Kind::kMap, .text = {}, .items = {}, .fields = {}, .line = 0};
    const Yaml* node = yaml.find("node");
    if (node == nullptr) node = &nothing;
    ASSIGN_OR_RETURN(result.flags, read_flags(*node, reader));
    const auto* steps = yaml.find("steps");
    for (const auto& item : steps == nullptr ? std::vector<Yaml>{yaml} : steps->items) {
        const bool own_node = item.get("objects").find("kind: Node\n") != std::string::npos;
        ASSIGN_OR_RETURN(Step step, reader.step(item, default_objects(*node, reader.mapping, own_node)));
        result.steps.push_back(std::move(step));
    }
    return result;
}

bool lists(const Yaml* yaml, const std::string& word) {
    if (yaml == nullptr) return true;
    const auto items = yaml->as_list();
    return std::any_of(items.begin(), items.end(), [&](const auto& item) { return item.text == word; });
}

}  // namespace

std::string Expectation::text() const {
    switch (what) {
        case What::kReject: return "reject";
        case What::kDrop: return "drop";
        case What::kNone: return "none";
        case What::kEndpoints: break;
    }
    std::vector<std::string> names;
    for (const auto& endpoint : endpoints) names.push_back(net::host_port(endpoint.address, endpoint.port));
    std::string text = fmt::format("{}", fmt::join(names, ", "));
    if (source == Source::kKept) text += ", source kept";
    if (source == Source::kMasqueraded) text += ", masqueraded";
    if (source == Source::kRelayed) text += ", which sees the node";
    if (source == Source::kHairpin) text += ", masqueraded if it is the client itself";
    if (sticky) text += ", sticky";
    return text;
}

std::string FlowCase::text() const {
    std::vector<std::string> clients;
    for (const auto& client : from) clients.push_back(client.address.text());
    return fmt::format("{} -> {}/{}", fmt::join(clients, ", "), net::host_port(to.address, to.port),
                       net::protocol_name(protocol));
}

Result<std::vector<Case>> read_cases(const std::string& path, const std::string& mode) {
    std::ifstream file(path);
    if (!file) return fail("cannot read {}", path);
    std::stringstream text;
    text << file.rdbuf();
    const auto documents = parse_yaml(text.str());
    if (!documents) return documents.error().within(path);
    std::vector<Case> cases;
    const auto base = std::filesystem::path(path).stem().string();
    for (const auto& document : *documents) {
        if (!lists(document.find("modes"), mode)) continue;
        const auto own = document.get("name");
        const auto name = own.empty() ? base : base + "/" + own;
        const auto* families = document.find("families");
        const std::vector<std::string> all{"IPv4", "IPv6", "as written"};
        for (const auto& family : all) {
            if (families == nullptr ? family == "as written" : !lists(families, family)) continue;
            auto read = read_case(document, name, family, mode);
            if (!read) return read.error().within(path);
            cases.push_back(std::move(read).value());
        }
    }
    return cases;
}

}  // namespace ghostip::packets

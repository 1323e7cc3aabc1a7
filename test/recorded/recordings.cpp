#include "recorded/recordings.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include <fmt/format.h>

#include "support/topology.h"

namespace ghostip::recorded {
namespace {

using net::Family;

const std::string kFolder = GHOSTIP_RECORDED;
constexpr std::array<std::string_view, 2> kCounters{"ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts"};
constexpr std::array<std::string_view, 4> kDispatchChains{"-A KUBE-SERVICES ", "-A KUBE-EXTERNAL-SERVICES ",
                                                          "-A KUBE-NODEPORTS ", "-A KUBE-PROXY-FIREWALL "};
constexpr std::string_view kLastRule = "NOTE: this must be the last rule in this chain";

enum class Pods { kByRange, kOtherwise };

Recording of_few(std::string name, Pods pods, std::vector<std::string> more, bool ipv6) {
    std::vector<std::string> flags{"--hostname-override", "test-node"};
    if (pods == Pods::kByRange) flags.insert(flags.end(), {"--cluster-cidr", "10.0.0.0/8,fd00:10::/64"});
    flags.insert(flags.end(), more.begin(), more.end());
    std::vector<Family> families{Family::kIpv4};
    if (ipv6) families.push_back(Family::kIpv6);
    return {std::move(name), "few.yaml", std::move(flags), std::move(families)};
}

std::vector<Recording> all() {
    std::vector<Recording> list;
    for (const auto* name : {"everything", "large", "few", "few-legacy", "stream"})
        list.push_back(of_few(name, Pods::kByRange, {}, true));
    list[0].objects = "everything.yaml";
    list[1].objects = "large.yaml";
    list[4].objects = "stream.yaml";
    list[0].nftables = list[2].nftables = list[4].nftables = true;
    list.push_back(of_few("masquerade-all", Pods::kByRange, {"--masquerade-all"}, true));
    list.push_back(of_few("no-cluster-cidr", Pods::kOtherwise, {}, true));
    list.push_back(of_few("node-port-list", Pods::kByRange,
                          {"--nodeport-addresses", "192.168.0.0/23,127.0.0.0/8,2001:db8::/64"}, true));
    list.push_back(of_few("node-port-primary", Pods::kByRange, {"--nodeport-addresses", "primary"}, false));
    list.push_back(of_few("no-loopback", Pods::kByRange, {"--iptables-localhost-nodeports=false"}, false));
    list.push_back(of_few("bridge", Pods::kOtherwise,
                          {"--detect-local-mode", "BridgeInterface", "--pod-bridge-interface", "pods"}, false));
    list.push_back(of_few("prefix", Pods::kOtherwise,
                          {"--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "po"}, false));
    list.push_back(of_few("bit", Pods::kByRange, {"--iptables-masquerade-bit", "10"}, false));
    return list;
}

Result<std::string> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return fail("cannot open {}", path);
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// What neighbours have in common whose order is free; empty: this line has its place.
std::string_view group_of(std::string_view line) {
    if (line.find(kLastRule) != std::string_view::npos) return kLastRule;
    for (const auto chain : kDispatchChains)
        if (line.starts_with(chain)) return chain;
    // "-A KUBE-FW-X -s RANGE ...": the chain. Its last rule has no source.
    constexpr std::string_view kFirewall = "-A KUBE-FW-";
    const auto source = line.find(" -s ");
    return line.starts_with(kFirewall) && source != std::string_view::npos ? line.substr(0, source)
                                                                           : std::string_view();
}

}  // namespace

const std::vector<Recording>& recordings() {
    static const auto list = all();
    return list;
}

const Recording& recording(std::string_view name) {
    const auto& list = recordings();
    const auto found = std::find_if(list.begin(), list.end(), [&](const auto& one) { return one.name == name; });
    if (found != list.end()) return *found;
    fmt::print(stderr, "there is no recording {}\n", name);
    std::abort();
}

std::string manifest_path(const Recording& recording) { return kFolder + "/" + recording.objects; }

Result<std::string> iptables_text(const Recording& recording, Family family) {
    return read_file(fmt::format("{}/{}.{}.rules", kFolder, recording.name, family == Family::kIpv4 ? "ipv4" : "ipv6"));
}

Result<std::string> nftables_text(const Recording& recording) {
    return read_file(fmt::format("{}/{}.nft", kFolder, recording.name));
}

std::vector<std::string> lines_of_table(std::string_view text, std::string_view table) {
    std::vector<std::string> lines;
    bool inside = false;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        const auto line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.starts_with('*'))
            inside = line.substr(1) == table;
        else if (inside && line != "COMMIT" && !line.starts_with('#'))
            lines.emplace_back(line);
    }
    return lines;
}

Result<std::vector<std::string>> saved_lines(kernel::iptables::Iptables& from) {
    std::vector<std::string> lines;
    for (const auto table : kTables) {
        lines.push_back(fmt::format("*{}", table));
        RETURN_IF_ERROR(from.save(table, [&](std::string_view line) { lines.emplace_back(line); }));
    }
    return lines;
}

std::vector<std::string> without_free_order(std::vector<std::string> lines) {
    for (auto begin = lines.begin(); begin != lines.end();) {
        const std::string group(group_of(*begin));
        const auto end = std::find_if(begin, lines.end(), [&](const auto& line) { return group_of(line) != group; });
        if (!group.empty()) std::sort(begin, end);
        begin = end;
    }
    return lines;
}

Result<void> load(const Recording& recording, kernel::iptables::Iptables& into, kernel::nfacct::Nfacct& counters) {
    ASSIGN_OR_RETURN(const auto text, iptables_text(recording, into.family()));
    for (const auto name : kCounters) RETURN_IF_ERROR(counters.create(name));
    ASSIGN_OR_RETURN(const auto refused, into.restore(text));
    if (refused) return fail("{}: line {}: {}", recording.name, refused->line, refused->reason);
    return {};
}

Result<void> load_nftables(const Recording& recording, const testnet::Namespace& into) {
    ASSIGN_OR_RETURN(const auto text, nftables_text(recording));
    const auto done = into.must_run({"nft", "-f", "-"}, text);
    if (!done) return done.error().within(recording.name);
    return {};
}

Result<void> add_node_addresses(const testnet::Namespace& node) {
    RETURN_IF_ERROR(testnet::ip_batch(node, Family::kIpv4,
                                      "addr add 192.168.0.2/32 dev lo\naddr add 192.168.1.2/32 dev lo\n"
                                      "addr add 192.168.99.11/32 dev lo\n"));
    return testnet::ip_batch(node, Family::kIpv6,
                             "addr add 2001:db8::1/128 dev lo nodad\naddr add 2001:db8:1::2/128 dev lo nodad\n"
                             "addr add 2001:db8:99::11/128 dev lo nodad\n");
}

}  // namespace ghostip::recorded

#include "recorded/ipvs_recording.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>

#include <fmt/format.h>

#include "support/topology.h"

namespace ghostip::recorded {
namespace {

using net::Family;

constexpr std::string_view kDevice = "kube-ipvs0";

Result<std::string> part_of(const std::string& name, std::string_view part) {
    const auto path = fmt::format("{}/ipvs-{}.{}", GHOSTIP_RECORDED, name, part);
    std::ifstream file(path, std::ios::binary);
    if (!file) return fail("cannot open {}", path);
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

std::string program(Family family) { return family == Family::kIpv4 ? "iptables-legacy" : "ip6tables-legacy"; }

Result<std::string> rules_of(const std::string& name, Family family) {
    return part_of(name, family == Family::kIpv4 ? "ipv4.rules" : "ipv6.rules");
}

// `"local":"ADDRESS"` in what `ip -j addr` printed; the device's own link-local one is the kernel's.
std::vector<net::IpAddress> addresses_in(std::string_view json) {
    constexpr std::string_view kLocal = "\"local\":\"";
    std::vector<net::IpAddress> addresses;
    for (auto at = json.find(kLocal); at != std::string_view::npos; at = json.find(kLocal, at)) {
        at += kLocal.size();
        const auto address = net::IpAddress::parse(json.substr(at, json.find('"', at) - at));
        if (address && !address->is_link_local()) addresses.push_back(*address);
    }
    return addresses;
}

Result<void> make_device(const testnet::Namespace& node, const std::vector<net::IpAddress>& addresses) {
    RETURN_IF_ERROR(node.must_run({"ip", "link", "add", std::string(kDevice), "type", "dummy"}));
    for (const auto family : net::kFamilies) {
        std::string batch;
        for (const auto& address : addresses)
            if (address.family() == family)
                batch += fmt::format("addr add {}/{} dev {}\n", address.text(), net::address_bits(family), kDevice);
        RETURN_IF_ERROR(testnet::ip_batch(node, family, batch));
    }
    return {};
}

Result<std::vector<std::string>> sorted_lines(Result<std::string> text) {
    if (!text) return text.error();
    std::istringstream in(*text);
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    std::sort(lines.begin(), lines.end());
    return lines;
}

}  // namespace

const std::vector<std::string>& ipvs_recordings() {
    static const std::vector<std::string> names{"few", "everything", "stream"};
    return names;
}

Result<void> load_ipvs(const std::string& name, const testnet::Namespace& into) {
    ASSIGN_OR_RETURN(const auto addresses, part_of(name, "addresses"));
    RETURN_IF_ERROR(make_device(into, addresses_in(addresses)));
    ASSIGN_OR_RETURN(const auto sets, part_of(name, "sets"));
    RETURN_IF_ERROR(into.must_run({"ipset", "restore"}, sets));
    ASSIGN_OR_RETURN(const auto servers, part_of(name, "servers"));
    RETURN_IF_ERROR(into.must_run({"ipvsadm", "-R"}, servers));
    for (const auto family : net::kFamilies) {
        ASSIGN_OR_RETURN(const auto rules, rules_of(name, family));
        RETURN_IF_ERROR(into.must_run({program(family) + "-restore", "-w", "5"}, rules));
    }
    return {};
}

Result<void> load_ipvs_again(const std::string& name, const testnet::Namespace& into) {
    ASSIGN_OR_RETURN(const auto sets, part_of(name, "sets"));
    RETURN_IF_ERROR(into.must_run({"ipset", "-exist", "restore"}, sets));
    for (const auto family : net::kFamilies) {
        ASSIGN_OR_RETURN(const auto rules, rules_of(name, family));
        std::string own;
        for (const std::string_view table : {"filter", "nat"}) {
            own += fmt::format("*{}\n", table);
            for (const auto& line : lines_of_table(rules, table))
                if (line.starts_with(":KUBE-") || line.starts_with("-A KUBE-")) own += line + "\n";
            own += "COMMIT\n";
        }
        RETURN_IF_ERROR(into.must_run({program(family) + "-restore", "--noflush", "-w", "5"}, own));
    }
    return {};
}

Result<std::vector<std::string>> saved_servers(const testnet::Namespace& node) {
    return sorted_lines(node.must_run({"ipvsadm", "-Sn"}));
}

Result<std::vector<std::string>> saved_sets(const testnet::Namespace& node) {
    return sorted_lines(node.must_run({"ipset", "save"}));
}

}  // namespace ghostip::recorded

#include "packets/left_rules.h"

#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>
#include <vector>

#include "support/machine.h"

namespace ghostip::packets {
namespace {

constexpr std::array<const char*, 3> kTables{"nat", "filter", "mangle"};

bool is_left(const std::string& line) {
    if (line.find("KUBE-FIREWALL") != std::string::npos) return false;
    if (line.starts_with("-A")) return true;
    return line.starts_with(":") && line.find(" - ") != std::string::npos;  // a chain without policy is somebody's own
}

std::vector<std::string> programs() {
    std::vector<std::string> all{"iptables-legacy", "ip6tables-legacy"};
    if (testnet::has_nf_tables()) all.insert(all.end(), {"iptables-nft", "ip6tables-nft"});
    return all;
}

// Virtual servers, sets and the device of the ipvs mode, where the kernel has such things.
Result<std::string> left_of_ipvs(const testnet::Namespace& node) {
    std::string left;
    ASSIGN_OR_RETURN(const auto device, node.run({"ip", "link", "show", "dev", "kube-ipvs0"}));
    if (device.status == 0) left += "device kube-ipvs0\n";
    if (::access("/proc/net/ip_vs", F_OK) == 0) {
        ASSIGN_OR_RETURN(const auto saved, node.must_run({"ipvsadm", "-Sn"}));
        std::istringstream servers(saved);
        for (std::string line; std::getline(servers, line);)
            if (line.starts_with("-A ")) left += "virtual server " + line + "\n";
    }
    if (::access("/sys/module/ip_set", F_OK) != 0) return left;
    ASSIGN_OR_RETURN(const auto sets, node.must_run({"ipset", "list", "-n"}));
    std::istringstream names(sets);
    for (std::string name; std::getline(names, name);) left += "set " + name + "\n";
    return left;
}

// Tables that iptables-nft makes hold nothing of ours but chains, which iptables-save shows.
Result<std::string> nft_tables(const testnet::Namespace& node) {
    ASSIGN_OR_RETURN(const auto listing, node.must_run({"nft", "list", "tables"}));
    std::istringstream lines(listing);
    std::string left;
    for (std::string line; std::getline(lines, line);) {
        bool known = false;
        for (const std::string family : {"ip", "ip6"})
            for (const std::string table : kTables) known = known || line == "table " + family + " " + table;
        if (!known) left += line + "\n";
    }
    return left;
}

}  // namespace

Result<std::string> left_rules(const testnet::Namespace& node) {
    std::string left;
    if (testnet::has_nf_tables()) {
        ASSIGN_OR_RETURN(left, nft_tables(node));
    }
    ASSIGN_OR_RETURN(const auto of_ipvs, left_of_ipvs(node));
    left += of_ipvs;
    for (const auto& program : programs()) {
        ASSIGN_OR_RETURN(const auto saved, node.must_run({program + "-save"}));
        std::istringstream lines(saved);
        for (std::string line; std::getline(lines, line);)
            if (is_left(line)) left += program + ": " + line + "\n";
    }
    return left;
}

Result<void> remove_all_rules(const testnet::Namespace& node) {
    if (testnet::has_nf_tables()) RETURN_IF_ERROR(node.must_run({"nft", "flush", "ruleset"}));
    for (const std::string program : {"iptables-legacy", "ip6tables-legacy"}) {
        ASSIGN_OR_RETURN(const auto saved, node.must_run({program + "-save"}));
        for (const std::string table : kTables) {
            if (saved.find("*" + table + "\n") == std::string::npos) continue;
            RETURN_IF_ERROR(node.must_run({program, "-w", "5", "-t", table, "-F"}));
            RETURN_IF_ERROR(node.must_run({program, "-w", "5", "-t", table, "-X"}));
        }
    }
    return {};
}

}  // namespace ghostip::packets

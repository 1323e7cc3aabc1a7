#include "packets/left_rules.h"

#include <array>
#include <sstream>

namespace ghostip::packets {
namespace {

constexpr std::array<const char*, 3> kTables{"nat", "filter", "mangle"};
constexpr std::array<const char*, 4> kPrograms{"iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"};

bool is_left(const std::string& line) {
    if (line.find("KUBE-FIREWALL") != std::string::npos) return false;
    if (line.starts_with("-A")) return true;
    return line.starts_with(":") && line.find(" - ") != std::string::npos;  // a chain without policy is somebody's own
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
    ASSIGN_OR_RETURN(std::string left, nft_tables(node));
    for (const std::string program : kPrograms) {
        ASSIGN_OR_RETURN(const auto saved, node.must_run({program + "-save"}));
        std::istringstream lines(saved);
        for (std::string line; std::getline(lines, line);)
            if (is_left(line)) left += program + ": " + line + "\n";
    }
    return left;
}

Result<void> remove_all_rules(const testnet::Namespace& node) {
    RETURN_IF_ERROR(node.must_run({"nft", "flush", "ruleset"}));
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

#include "support/machine.h"

#include <chrono>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>

namespace ghostip::testnet {
namespace {

constexpr std::chrono::seconds kPatience(10);

// One question for each IPv6 address of the device.
std::string questions(const std::string& addresses) {
    std::istringstream lines(addresses);
    std::string asked;
    for (std::string line; std::getline(lines, line);) {
        const auto begin = line.find(" inet6 ");
        if (begin == std::string::npos || line.find(" scope link") != std::string::npos) continue;
        const auto first = begin + 7;
        asked += "route get " + line.substr(first, line.find('/', first) - first) + "\n";
    }
    return asked;
}

bool all_local(const std::string& answers) {
    std::istringstream lines(answers);
    for (std::string line; std::getline(lines, line);)
        if (!line.empty() && line.front() != ' ' && !line.starts_with("local ")) return false;
    return true;
}

}  // namespace

bool has_nf_tables() {
    static const bool has = [] {
        std::ifstream about("/proc/cpuinfo");
        const std::string cpu{std::istreambuf_iterator<char>(about), std::istreambuf_iterator<char>()};
        return cpu.find("User Mode Linux") == std::string::npos;
    }();
    return has;
}

Result<void> await_service_addresses(const Namespace& node) {
    ASSIGN_OR_RETURN(const auto device, node.run({"ip", "-6", "-o", "addr", "show", "dev", "kube-ipvs0"}));
    const auto asked = device.status == 0 ? questions(device.out) : "";
    if (asked.empty()) return {};
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (true) {
        ASSIGN_OR_RETURN(const auto answers, node.run({"ip", "-6", "-force", "-batch", "-"}, asked));
        if (answers.status == 0 && all_local(answers.out)) return {};
        if (std::chrono::steady_clock::now() > deadline)
            return fail("addresses of kube-ipvs0 are not local after {} s:\n{}{}", kPatience.count(), answers.out,
                        answers.err);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

}  // namespace ghostip::testnet

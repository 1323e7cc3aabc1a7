#include "kernel/ipvs/removal.h"

#include <unistd.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <vector>

#include "kernel/ipset/linux.h"
#include "kernel/ipvs/linux.h"
#include "kernel/link/linux.h"

namespace ghostip::kernel::ipvs {
namespace {

constexpr const char* kServersFile = "/proc/thread-self/net/ip_vs";

}  // namespace

bool available() { return ::access(kServersFile, R_OK) == 0; }

// Built in or loaded, it has a parameter.
bool sets_available() { return ::access("/sys/module/ip_set", F_OK) == 0; }

// "  -> 0A000105:1F90      Masq    1      2          3": forwarding, weight, active and inactive connections.
Servers parse_servers(std::string_view text) {
    Servers servers;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        std::vector<std::string_view> words;
        while (!line.empty()) {
            const auto space = std::min(line.find(' '), line.size());
            if (space > 0) words.push_back(line.substr(0, space));
            line.remove_prefix(std::min(space + 1, line.size()));
        }
        if (words.empty()) continue;
        if (words[0] == "TCP" || words[0] == "UDP" || words[0] == "SCTP" || words[0] == "FWM")
            ++servers.virtual_servers;
        std::uint64_t active = 0;
        if (words[0] == "->" && words.size() >= 6 &&
            std::from_chars(words[4].data(), words[4].data() + words[4].size(), active).ec == std::errc())
            servers.active_connections += active;
    }
    return servers;
}

Result<std::optional<Servers>> servers() {
    if (!available()) return std::optional<Servers>();
    std::ifstream file(kServersFile);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (text.empty()) return fail_errno("read {}", kServersFile);
    return std::optional(parse_servers(text));
}

Result<void> flush_servers() {
    ASSIGN_OR_RETURN(const auto ipvs, LinuxIpvs::open());
    return ipvs->flush();
}

Result<bool> dummy_device_exists(const std::string& name) {
    ASSIGN_OR_RETURN(const auto links, link::LinuxLinks::open());
    ASSIGN_OR_RETURN(const auto device, links->find(name));
    return device && device->kind == link::kDummy;
}

Result<bool> delete_dummy_device(const std::string& name) {
    ASSIGN_OR_RETURN(const auto links, link::LinuxLinks::open());
    return links->delete_dummy(name);
}

Result<bool> destroy_set(const std::string& name) {
    ASSIGN_OR_RETURN(const auto sets, ipset::LinuxSets::open());
    return sets->destroy(name);
}

}  // namespace ghostip::kernel::ipvs

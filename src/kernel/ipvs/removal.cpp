#include "kernel/ipvs/removal.h"

#include <unistd.h>

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

Result<Servers> count(Ipvs& ipvs, const std::vector<Service>& services) {
    Servers servers;
    for (const auto& service : services) {
        ++servers.virtual_servers;
        const bool udp = service.key.protocol == net::Protocol::kUdp;
        ASSIGN_OR_RETURN(const auto destinations, ipvs.destinations(service.key));
        for (const auto& destination : destinations)
            servers.connections += destination.connections.active + (udp ? destination.connections.inactive : 0);
    }
    return servers;
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

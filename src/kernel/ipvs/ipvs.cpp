#include "kernel/ipvs/ipvs.h"

namespace ghostip::kernel::ipvs {

std::string text(const ServiceKey& key) {
    if (key.mark != 0) return fmt::format("mark {} ({})", key.mark, net::family_name(key.address.family()));
    return fmt::format("{} {}", net::protocol_name(key.protocol), net::host_port(key.address, key.port));
}

std::string text(const Command& command) {
    const auto service = text(command.service.key);
    const auto destination = net::host_port(command.destination.key.address, command.destination.key.port);
    switch (command.verb) {
        case Verb::kNewService: return fmt::format("add service {} ({})", service, command.service.scheduler);
        case Verb::kSetService: return fmt::format("change service {} ({})", service, command.service.scheduler);
        case Verb::kDeleteService: return fmt::format("delete service {}", service);
        case Verb::kNewDestination: return fmt::format("add destination {} to {}", destination, service);
        case Verb::kSetDestination: return fmt::format("change destination {} of {}", destination, service);
        case Verb::kDeleteDestination: return fmt::format("delete destination {} of {}", destination, service);
    }
    return "?";
}

Result<std::vector<ServiceState>> Ipvs::contents() {
    ASSIGN_OR_RETURN(auto all, services());
    std::vector<ServiceState> states;
    states.reserve(all.size());
    for (auto& service : all) {
        ASSIGN_OR_RETURN(auto behind, destinations(service.key));
        states.push_back({std::move(service), std::move(behind)});
    }
    return states;
}

}  // namespace ghostip::kernel::ipvs

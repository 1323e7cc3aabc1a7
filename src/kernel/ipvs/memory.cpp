#include "kernel/ipvs/memory.h"

#include <algorithm>
#include <limits>

namespace ghostip::kernel::ipvs {
namespace {

constexpr std::size_t kLongestName = 15;

// ip_vs_add_dest(), ip_vs_edit_dest() and what stands before them.
int check(const Destination& destination, const ServiceKey& service) {
    if (destination.weight > static_cast<std::uint32_t>(std::numeric_limits<std::int32_t>::max())) return ERANGE;
    if (destination.lower_threshold > destination.upper_threshold) return ERANGE;
    // Only a tunnel leads to the other family.
    const bool tunnel = destination.forwarding == Forwarding::kTunnel;
    if (destination.key.address.family() != service.address.family() && !tunnel) return EINVAL;
    return 0;
}

// ip_vs_new_dest(): neither of this host nor a single other one's, as far as that can be told without routes.
bool is_nobodys(const net::IpAddress& address) {
    const auto bytes = address.bytes();
    if (!address.is_ipv4()) return bytes[0] == 0xff || address.is_unspecified() || address.is_link_local();
    const bool all_ones = std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == 0xff; });
    return bytes[0] == 0 || (bytes[0] & 0xf0U) == 0xe0 || all_ones;
}

}  // namespace

std::optional<Error> MemoryIpvs::begin_call(const char* what) {
    ++counters_.calls;
    if (absent_) return Error{"this kernel has no IPVS (module ip_vs is neither built in nor loadable)", ENOENT};
    const auto failure = failures_.find(counters_.calls);
    if (failure == failures_.end()) return std::nullopt;
    const int code = failure->second;
    failures_.erase(failure);
    return errno_error(code, what);
}

Result<Info> MemoryIpvs::info() {
    if (auto error = begin_call("ask IPVS for its version")) return *error;
    return Info{0x10201, 4096};
}

Result<std::vector<Service>> MemoryIpvs::services() {
    if (auto error = begin_call("list IPVS services")) return *error;
    ++counters_.lists;
    std::vector<Service> all;
    const bool lacks_one = left_out_.second > 0;
    if (lacks_one) --left_out_.second;
    for (const auto& [key, entry] : services_)
        if (!lacks_one || key != left_out_.first) all.push_back(entry.service);
    return all;
}

Result<bool> MemoryIpvs::contains(const ServiceKey& service) {
    if (auto error = begin_call("ask for IPVS service")) return *error;
    return services_.contains(service);
}

Result<std::vector<Destination>> MemoryIpvs::destinations(const ServiceKey& service) {
    if (auto error = begin_call("list IPVS destinations")) return *error;
    ++counters_.lists;
    std::vector<Destination> all;
    const auto found = services_.find(service);
    if (found != services_.end())
        for (const auto& [key, destination] : found->second.destinations) all.push_back(destination);
    return all;
}

Result<std::vector<Refusal>> MemoryIpvs::apply(std::span<const Command> commands) {
    if (auto error = begin_call("change IPVS services")) return *error;
    std::vector<Refusal> refusals;
    for (std::size_t i = 0; i < commands.size(); ++i) {
        ++seen_;
        log_.push_back(commands[i]);
        int code = 0;
        if (const auto refusal = refused_.find(seen_); refusal != refused_.end()) code = refusal->second;
        if (code == 0) code = carry_out(commands[i]);
        if (code == 0)
            ++counters_.commands;
        else
            refusals.push_back({i, errno_error(code, text(commands[i]))});
    }
    return refusals;
}

int MemoryIpvs::carry_out(const Command& command) {
    if (command.verb == Verb::kNewService || command.verb == Verb::kSetService) return change_service(command);
    const auto found = services_.find(command.service.key);
    if (found == services_.end()) return ESRCH;
    if (command.verb != Verb::kDeleteService) return change_destination(command, found->second);
    for (const auto& [key, destination] : found->second.destinations)
        if (destination.connections != Destination::Connections{})
            trash_[{command.service.key, key}] = destination.connections;
    services_.erase(found);
    return 0;
}

int MemoryIpvs::change_service(const Command& command) {
    const auto& service = command.service;
    if (service.scheduler.size() > kLongestName || service.engine.size() > kLongestName) return EINVAL;
    const auto found = services_.find(service.key);
    if (command.verb == Verb::kNewService && found != services_.end()) return EEXIST;
    if (command.verb == Verb::kSetService && found == services_.end()) return ESRCH;
    if (!schedulers_.contains(service.scheduler)) return ENOENT;
    const bool ipv6 = !service.key.address.is_ipv4();
    if (ipv6 && service.client_bits != kAllBits && service.client_bits < 1) return EINVAL;
    auto& entry = services_[service.key];
    entry.service = service;
    entry.service.flags &= ~kHashed;
    if (service.client_bits == net::address_bits(service.key.address.family())) entry.service.client_bits = kAllBits;
    return 0;
}

int MemoryIpvs::change_destination(const Command& command, Entry& entry) {
    const auto& wanted = command.destination;
    const auto found = entry.destinations.find(wanted.key);
    const bool there = found != entry.destinations.end();
    if (command.verb == Verb::kDeleteDestination) {
        if (!there) return ENOENT;
        if (found->second.connections != Destination::Connections{})
            trash_[{command.service.key, wanted.key}] = found->second.connections;
        entry.destinations.erase(found);
        return 0;
    }
    if (const int code = check(wanted, command.service.key); code != 0) return code;
    if (command.verb == Verb::kNewDestination && there) return EEXIST;
    if (command.verb == Verb::kSetDestination && !there) return ENOENT;
    const bool in_trash = trash_.contains({command.service.key, wanted.key});
    if (!there && !in_trash && (is_nobodys(wanted.key.address) || refused_destinations_.contains(wanted.key.address)))
        return EINVAL;
    Destination::Connections connections;
    if (there) {
        connections = found->second.connections;
    } else if (const auto left = trash_.find({command.service.key, wanted.key}); left != trash_.end()) {
        connections = left->second;
        trash_.erase(left);
    }
    auto& destination = entry.destinations[wanted.key];
    destination = wanted;
    destination.connections = connections;
    return 0;
}

Result<Timeouts> MemoryIpvs::timeouts() {
    if (auto error = begin_call("ask IPVS for its timeouts")) return *error;
    return timeouts_;
}

Result<void> MemoryIpvs::set_timeouts(const Timeouts& timeouts) {
    if (auto error = begin_call("set IPVS timeouts")) return *error;
    if (timeouts.tcp != 0) timeouts_.tcp = timeouts.tcp;
    if (timeouts.tcp_fin != 0) timeouts_.tcp_fin = timeouts.tcp_fin;
    if (timeouts.udp != 0) timeouts_.udp = timeouts.udp;
    return {};
}

void MemoryIpvs::add_foreign(const ServiceState& state) {
    auto& entry = services_[state.service.key];
    entry.service = state.service;
    for (const auto& destination : state.destinations) entry.destinations[destination.key] = destination;
}

bool MemoryIpvs::set_connections(const ServiceKey& service, const DestinationKey& destination,
                                 const Destination::Connections& connections) {
    const auto entry = services_.find(service);
    if (entry != services_.end()) {
        const auto found = entry->second.destinations.find(destination);
        if (found != entry->second.destinations.end()) {
            found->second.connections = connections;
            return true;
        }
    }
    const auto left = trash_.find({service, destination});
    if (left == trash_.end()) return false;
    left->second = connections;
    if (connections == Destination::Connections{}) trash_.erase(left);
    return true;
}

}  // namespace ghostip::kernel::ipvs

#include "source/kubernetes/mass_removal.h"

namespace ghostip::source::kubernetes {
namespace {

std::size_t weight(const api::Service& service) {
    const std::size_t cluster_ips = service.cluster_ips.empty() ? (service.cluster_ip ? 1 : 0)  // before dual-stack
                                                                : service.cluster_ips.size();
    std::size_t count =
        service.ports.size() * (cluster_ips + service.external_ips.size() + service.load_balancer_vips.size());
    for (const auto& port : service.ports)
        if (port.node_port != 0) ++count;
    return count;
}

std::size_t weight(const api::EndpointSlice& slice) { return slice.ports.size() * slice.endpoints.size(); }

std::size_t weight_before(const ObjectStore& now, const api::Change& change) {
    const auto* known = now.find(change.key);
    return known == nullptr ? 0 : destinations_of(*known);
}

std::size_t weight_after(const api::Change& change) { return change.object ? destinations_of(*change.object) : 0; }

}  // namespace

std::size_t destinations_of(const api::Object& object) {
    if (const auto* service = std::get_if<std::shared_ptr<const api::Service>>(&object)) return weight(**service);
    if (const auto* slice = std::get_if<std::shared_ptr<const api::EndpointSlice>>(&object)) return weight(**slice);
    return 0;
}

Removal weigh(const ObjectStore& now, const std::vector<api::Change>& changes) {
    Removal removal;
    for (const auto& object : now) removal.of += destinations_of(object);
    for (const auto& change : changes) {
        const std::size_t before = weight_before(now, change);
        const std::size_t after = weight_after(change);
        if (after < before) removal.removed += before - after;
    }
    return removal;
}

bool holds_at_all(const MassRemovalLimits& limits) { return limits.share > 0 && limits.share < 1; }

bool is_mass_removal(const MassRemovalLimits& limits, const Removal& removal) {
    return holds_at_all(limits) && removal.removed > limits.more_than &&
           static_cast<double>(removal.removed) > limits.share * static_cast<double>(removal.of);
}

bool takes_away(const ObjectStore& now, const api::Change& change) {
    return !change.object || weight_after(change) < weight_before(now, change);
}

}  // namespace ghostip::source::kubernetes

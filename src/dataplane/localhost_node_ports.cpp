#include "dataplane/localhost_node_ports.h"

#include <utility>

namespace ghostip::dataplane {

Result<std::unique_ptr<Dataplane>> LocalhostNodePorts::before(std::unique_ptr<Dataplane> inner, net::Family family,
                                                              const RelayOptions& options) {
    auto carrier = options.carrier;
    if (!carrier) {
        ASSIGN_OR_RETURN(carrier, Carrier::start(options));
    }
    return std::unique_ptr<Dataplane>(new LocalhostNodePorts(std::move(inner), std::move(carrier), family, options));
}

LocalhostNodePorts::LocalhostNodePorts(std::unique_ptr<Dataplane> inner, std::shared_ptr<Carrier> carrier,
                                       net::Family family, const RelayOptions& options)
    : inner_(std::move(inner)),
      services_(std::move(carrier), family, options.pick, Carry::kNodePorts),
      listeners_(services_, NodePortsAt::kLoopback, {}) {}

// What leaves goes also where the kernel did not take the rest: nobody is led to these listeners by rules.
void LocalhostNodePorts::conclude(const std::map<std::string, std::string>& failed_before, Result<Outcome>& outcome) {
    services_.retire();
    if (!outcome) return;
    for (const auto& [object, reason] : listeners_.aside())
        if (!failed_before.contains(object)) outcome->set_aside.push_back({object, reason});
}

Result<Outcome> LocalhostNodePorts::reconcile(const plan::Plan& plan) {
    const auto failed_before = listeners_.aside();
    services_.take(plan);
    listeners_.follow();
    auto outcome = inner_->reconcile(plan);
    conclude(failed_before, outcome);
    return outcome;
}

Result<Outcome> LocalhostNodePorts::apply(const plan::Delta& delta) {
    const auto failed_before = listeners_.aside();
    services_.take(delta);
    listeners_.follow(delta);
    auto outcome = inner_->apply(delta);
    conclude(failed_before, outcome);
    return outcome;
}

Result<Outcome> LocalhostNodePorts::repair(const plan::Plan& plan, std::span<const ForeignWrite> writes) {
    return inner_->repair(plan, writes);
}

std::function<Result<Dataplane::Sight>()> LocalhostNodePorts::look(const plan::Plan& plan) const {
    return inner_->look(plan);
}

Result<Outcome> LocalhostNodePorts::check(const plan::Plan& plan, const Sight& sight) {
    if (!listeners_.failed().empty()) listeners_.follow();
    return inner_->check(plan, sight);
}

std::vector<SetAside> LocalhostNodePorts::set_aside() const {
    auto all = inner_->set_aside();
    for (const auto& [object, reason] : listeners_.aside()) all.push_back({object, reason});
    return all;
}

}  // namespace ghostip::dataplane

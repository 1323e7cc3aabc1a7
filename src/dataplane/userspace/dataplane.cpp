#include "dataplane/userspace/dataplane.h"

#include <utility>

#include <fmt/format.h>

#include "dataplane/userspace/names.h"
#include "plan/relayed.h"

namespace ghostip::dataplane::userspace {

using plan::PoolScope;
using relay::ListenerId;

Result<std::unique_ptr<UserspaceDataplane>> UserspaceDataplane::open(net::Family family,
                                                                     std::unique_ptr<Dataplane> inner,
                                                                     std::string why_not, const RelayOptions& options) {
    auto carrier = options.carrier;
    if (!carrier) {
        ASSIGN_OR_RETURN(carrier, Carrier::start(options));
    }
    return std::unique_ptr<UserspaceDataplane>(
        new UserspaceDataplane(family, std::move(inner), std::move(why_not), options, std::move(carrier)));
}

UserspaceDataplane::UserspaceDataplane(net::Family family, std::unique_ptr<Dataplane> inner, std::string why_not,
                                       const RelayOptions& options, std::shared_ptr<Carrier> carrier)
    : family_(family),
      carrier_(std::move(carrier)),
      inner_(std::move(inner)),
      why_not_(std::move(why_not)),
      services_(carrier_, family, options.pick),
      direct_(services_,
              !inner_                        ? NodePortsAt::kAccepted
              : options.localhost_node_ports ? NodePortsAt::kLoopback
                                             : NodePortsAt::kNowhere,
              options.listen),
      redirects_(family, carrier_->mark(), [this](const auto& plan) { return ports_of(plan); }) {}

UserspaceDataplane::~UserspaceDataplane() {
    for (const auto listener : tcp_listeners_) carrier_->close(listener);
    for (const auto& [name, one] : udp_)
        for (const auto listener : {one.cluster, one.local})
            if (listener != ListenerId{}) carrier_->close(listener);
}

// Not before the first plan: who comes to a listener that a predecessor had must be known.
Result<void> UserspaceDataplane::listen_for_tcp() {
    for (const auto scope : {PoolScope::kCluster, PoolScope::kLocal}) {
        auto& port = scope == PoolScope::kCluster ? tcp_ports_.cluster : tcp_ports_.local;
        if (port != 0) continue;
        relay::ListenerSpec spec;
        spec.protocol = net::Protocol::kTcp;
        spec.address = {net::IpAddress(family_), 0};
        spec.ask = [table = services_.table(), scope](const relay::Arrival& arrival) {
            return table->led_here(arrival, scope);
        };
        ASSIGN_OR_RETURN(const auto listener, carrier_->listen(tcp_listener_name(family_, scope), std::move(spec)));
        tcp_listeners_.push_back(listener);
        ASSIGN_OR_RETURN(const auto at, carrier_->relay().address(listener));
        port = at.port;
    }
    return {};
}

Result<void> UserspaceDataplane::listen_for_udp(const plan::ServicePortPlan& plan, PoolScope scope) {
    auto& own = udp_[plan.name];
    auto& listener = scope == PoolScope::kCluster ? own.cluster : own.local;
    auto& served = scope == PoolScope::kCluster ? own.services.cluster : own.services.local;
    const auto service = services_.services(plan.name).of(scope);
    if (listener != ListenerId{} && served == service) return {};
    // Of a service port that went and came again while the kernel took nothing.
    if (listener != ListenerId{}) carrier_->close(std::exchange(listener, {}));
    served = service;
    relay::ListenerSpec spec;
    spec.protocol = net::Protocol::kUdp;
    spec.address = {net::IpAddress(family_), 0};
    spec.service = service;
    ASSIGN_OR_RETURN(listener, carrier_->listen(udp_listener_name(family_, plan.name, scope), std::move(spec)));
    ASSIGN_OR_RETURN(const auto at, carrier_->relay().address(listener));
    (scope == PoolScope::kCluster ? own.ports.cluster : own.ports.local) = at.port;
    return {};
}

std::optional<RelayPorts> UserspaceDataplane::ports_of(const plan::ServicePortPlan& plan) {
    if (plan.name.protocol == net::Protocol::kTcp) return tcp_ports_;
    for (const auto scope : {PoolScope::kCluster, PoolScope::kLocal}) {
        if (plan.pool(scope).empty()) continue;
        if (const auto listening = listen_for_udp(plan, scope); !listening) {
            aside_[plan.name.text()] = listening.error().message;
            return std::nullopt;
        }
    }
    aside_.erase(plan.name.text());
    return udp_[plan.name].ports;
}

// When nothing leads there any more.
void UserspaceDataplane::close_what_left() {
    std::erase_if(udp_, [&](const auto& entry) {
        if (services_.find(entry.first) != nullptr) return false;
        for (const auto listener : {entry.second.cluster, entry.second.local})
            if (listener != ListenerId{}) carrier_->close(listener);
        aside_.erase(entry.first.text());
        return true;
    });
    services_.retire();
}

// First whoever comes is served, then the kernel leads them there; what leaves, the other way round.
Result<Outcome> UserspaceDataplane::reconcile(const plan::Plan& plan) {
    const auto before = aside();
    services_.take(plan);
    direct_.follow();
    aside_.clear();
    Outcome outcome;
    if (inner_) {
        if (tcp_listeners_.size() < 2) RETURN_IF_ERROR(listen_for_tcp());
        const auto& redirected = redirects_.reset(plan);
        flow_finder_ = {};
        static_cast<void>(flow_finder_.next(plan::everything(redirected)));
        ASSIGN_OR_RETURN(outcome, inner_->reconcile(redirected));
        outcome.flows = plan::check_everything(redirected);
    } else {
        outcome.flows = plan::StaleFlows();
        for (const auto& [name, service_port] : plan.service_ports)
            if (!plan::can_be_relayed(name.protocol)) aside_[name.text()] = std::string(kNoSctp);
    }
    close_what_left();
    conclude(before, outcome);
    return outcome;
}

Result<Outcome> UserspaceDataplane::apply(const plan::Delta& delta) {
    const auto before = aside();
    services_.take(delta);
    direct_.follow(delta);
    Outcome outcome;
    outcome.flows = plan::StaleFlows();
    if (inner_) {
        const auto redirected = redirects_.apply(delta);
        if (!redirected.empty()) {
            ASSIGN_OR_RETURN(outcome, inner_->apply(redirected));
            outcome.flows = flow_finder_.next(redirected);
        }
    } else {
        for (const auto& change : delta.service_ports) {
            const auto& name = change.before ? change.before->name : change.after->name;
            if (plan::can_be_relayed(name.protocol)) continue;
            if (change.after)
                aside_[name.text()] = std::string(kNoSctp);
            else
                aside_.erase(name.text());
        }
    }
    close_what_left();
    conclude(before, outcome);
    return outcome;
}

Result<Outcome> UserspaceDataplane::repair(const plan::Plan& plan, std::span<const ForeignWrite> writes) {
    if (!inner_) return reconcile(plan);
    return inner_->repair(redirects_.plan(), writes);
}

std::function<Result<Dataplane::Sight>()> UserspaceDataplane::look(const plan::Plan& plan) const {
    return inner_ ? inner_->look(redirects_.plan()) : Dataplane::look(plan);
}

// Also another try at what could not be listened for.
Result<Outcome> UserspaceDataplane::check(const plan::Plan& plan, const Sight& sight) {
    if (!inner_ || !aside_.empty() || !direct_.failed().empty()) return reconcile(plan);
    return inner_->check(redirects_.plan(), sight);
}

std::map<std::string, std::string> UserspaceDataplane::aside() const {
    auto all = direct_.aside();
    all.insert(aside_.begin(), aside_.end());
    return all;
}

std::vector<SetAside> UserspaceDataplane::set_aside() const {
    auto all = inner_ ? inner_->set_aside() : std::vector<SetAside>();
    for (const auto& [object, reason] : aside()) all.push_back({object, reason});
    return all;
}

void UserspaceDataplane::conclude(const std::map<std::string, std::string>& before, Outcome& outcome) const {
    for (const auto& [object, reason] : aside())
        if (!before.contains(object)) outcome.set_aside.push_back({object, reason});
}

Dataplane::CountReader UserspaceDataplane::count_reader() const { return inner_ ? inner_->count_reader() : nullptr; }

std::vector<std::string> UserspaceDataplane::remarks() const {
    if (inner_) return {};
    return {fmt::format("{}: {}; nothing is redirected to the relay: it is met at node ports and where --listen says",
                        net::family_name(family_), why_not_)};
}

}  // namespace ghostip::dataplane::userspace

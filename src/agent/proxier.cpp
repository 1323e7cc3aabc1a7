#include "agent/proxier.h"

#include <algorithm>
#include <future>
#include <unordered_set>
#include <utility>

#include "base/log.h"

namespace ghostip::agent {
namespace {

// How many times longer than a look took nobody looks again.
constexpr int kLookShare = 50;

// Of what programs write nobody may tell: where a mode runs them, its own looking has to find a rule that is gone,
// until somebody says that he tells.
std::chrono::milliseconds first_check_interval(const ProxierConfig& config) {
    return config.calls == dataplane::Calls::kQuick ? config.full_check_interval
                                                    : std::min(config.blind_check_interval, config.full_check_interval);
}

std::shared_ptr<ServiceCounters> open_counters(net::Family family, const dataplane::Dataplane& dataplane,
                                               Metrics& metrics) {
    auto read = dataplane.count_reader();
    if (!read) return nullptr;
    auto counters = std::make_shared<ServiceCounters>(family, std::move(read));
    metrics.count_services(family, counters);
    return counters;
}

}  // namespace

Proxier::Proxier(net::Family family, const ProxierConfig& config, std::unique_ptr<plan::Planner> planner,
                 std::unique_ptr<dataplane::Dataplane> dataplane, std::unique_ptr<FlowCleaner> flows,
                 Listeners listeners, Background& background, Answers answers)
    : family_(family),
      config_(config),
      planner_(std::move(planner)),
      flows_(std::move(flows)),
      metrics_(listeners.metrics),
      counts_(listeners.metrics.of(family)),
      health_(listeners.health),
      health_check_ports_(listeners.health_check_ports),
      background_(background),
      answers_(std::move(answers)),
      service_counters_(open_counters(family_, *dataplane, metrics_)),
      latency_(family, config_.wall_clock()),
      reconcile_at_(Time::min()),
      guard_(family, config_.drift),
      check_interval_(first_check_interval(config_)),
      check_at_(Time::max()),
      programmer_(std::move(dataplane), config_.calls, answers_.call) {
    health_.updated(family_);
    metrics_.kube_proxy().queued(family_, config_.wall_clock());
}

Result<void> Proxier::sync(const std::vector<api::Change>& changes, const plan::HostFacts* host, Time now) {
    const auto start = std::chrono::steady_clock::now();
    const bool changed = plan(changes, host);
    if (in_sync()) {  // nothing changes here, or what had changed is undone
        settled(false, now);
        return {};
    }
    if (changed) {
        if (!waiting_.since) waiting_.since = start;
        waiting_.planning += std::chrono::steady_clock::now() - start;
        metrics_.kube_proxy().queued(family_, config_.wall_clock());
        const auto queued = health_.queued(family_);
        if (!waiting_since_) waiting_since_ = queued;
    }
    // While the kernel does not hold the plan, changes wait for the next try, so that a failure that lasts is not asked
    // for at every change.
    return config_.calls == dataplane::Calls::kQuick ? begin_sync(now) : begin_due(now);
}

bool Proxier::plan(const std::vector<api::Change>& changes, const plan::HostFacts* host) {
    for (const auto& change : changes)
        if (change.key.kind == api::Kind::kEndpointSlice && !change.object)
            if (const auto service = planner_->service_of(change.key)) latency_.forget(*service);
    const auto before = planner_->stats();
    std::unordered_set<plan::ServiceName> planned;
    bool changed = false;
    const auto take = [&](const plan::Delta& delta) {
        changed = changed || !delta.empty();
        plan_delta(delta);
        for (const auto& change : delta.service_ports)
            planned.insert((change.after ? change.after : change.before)->name.service);
    };
    if (host != nullptr) take(planner_->set_host(*host));
    take(planner_->apply(changes));
    tell_refusals();
    latency_.take(changes, planned);
    const auto services = planner_->stats().service_changes - before.service_changes;
    const auto endpoint_slices = planner_->stats().endpoint_changes - before.endpoint_changes;
    waiting_.services += services;
    waiting_.endpoint_slices += endpoint_slices;
    metrics_.kube_proxy().took_changes(services, endpoint_slices);
    return changed;
}

void Proxier::plan_delta(const plan::Delta& delta) {
    tell_node_rules(delta);
    plan_counts_.apply(delta);
    if (service_counters_) service_counters_->apply(delta);
    waiting_.add(delta, flow_finder_.next(delta));
    if (!reconcile_at_) waiting_delta_.add(delta);
}

// What the kernel was told last.
plan::Plan Proxier::applied_plan() const {
    auto plan = planner_->plan();
    if (!waiting_delta_.empty()) plan.apply(plan::inverse(waiting_delta_.delta()));
    return plan;
}

bool Proxier::in_sync() const { return !reconcile_at_ && waiting_delta_.empty() && !syncing(); }

void Proxier::sighted(Time now) {
    check_interval_ = config_.full_check_interval;
    if (started_) check_at_ = now + check_interval_;
}

void Proxier::blind(Time now) {
    check_interval_ = std::min(config_.blind_check_interval, config_.full_check_interval);
    check_at_ = std::min(check_at_, now + check_interval_);
}

void Proxier::slow_work_failed(const Error& error, Time now) {
    log::warning("{}: {}; everything is looked at again", net::family_name(family_), error.message);
    metrics_.kube_proxy().cleanup_failed(family_);
    health_.queued(family_);
    if (!reconcile_at_) reconcile_at_ = now + config_.retry_interval;
}

Proxier::Time Proxier::due() const {
    if (programmer_.busy()) return Time::max();  // the end of the call wakes the loop
    Time due = Time::max();
    if (reconcile_at_) {
        due = std::max({*reconcile_at_, held_until_, next_sync_});
    } else {
        if (!waiting_delta_.empty()) due = std::max(held_until_, next_sync_);
        if (const auto drift = guard_.due()) due = std::min(due, std::max(*drift, held_until_));
        if (sight_) due = std::min(due, held_until_);
    }
    if (started_ && !looking_ && !reconcile_at_) due = std::min(due, check_at_);
    return due;
}

void Proxier::tick(Time now) {
    guard_.tick(now);
    static_cast<void>(begin_due(now));  // what fails was logged, and is tried again
    if (started_ && !looking_ && !reconcile_at_ && now >= check_at_ && !programmer_.busy()) look();
    for (const auto& line : guard_.take_lines()) log::write(line.level, line.text);
    update_metrics();
}

void Proxier::look() {
    looking_ = true;
    looking_since_ = std::chrono::steady_clock::now();
    background_.run([look = dataplane().look(applied_plan()), answer = answers_.sight, family = family_] {
        answer(family, look());
    });
}

void Proxier::take_sight(Result<Sight> sight, Time now) {
    looking_ = false;
    const auto took = std::chrono::steady_clock::now() - looking_since_;
    check_at_ = now + std::max<Time::duration>(check_interval_, kLookShare * took);
    if (!sight) {
        log::warning("{}: {}; rules in place stay; looked at again in {} s", net::family_name(family_),
                     sight.error().message, std::chrono::duration_cast<std::chrono::seconds>(check_interval_).count());
        return;
    }
    if (reconcile_at_) return;  // that will look itself
    sight_ = std::move(*sight);
    begin_check(now);
}

void Proxier::tell_refusals() {
    for (const auto& conflict : planner_->take_conflicts())
        log::warning("{} is claimed by two Services: {} has it, {} does not get it", conflict.key.text(),
                     conflict.winner.text(), conflict.loser.text());
    for (const auto& refusal : planner_->take_refusals()) log::warning("{}", refusal.text());
}

void Proxier::tell_node_rules(const plan::Delta& delta) {
    if (!delta.node_rules) return;
    const auto& before = delta.node_rules->before.undropped;
    for (const auto& range : delta.node_rules->after.undropped)
        if (std::find(before.begin(), before.end(), range) == before.end()) log::warning("{}", range.text());
}

// Each object is named when it is set aside, and again when it no longer is.
void Proxier::tell_set_aside(const std::vector<dataplane::SetAside>& aside) {
    std::map<std::string, std::string> now;
    for (const auto& entry : aside) now.emplace(entry.object, entry.reason);
    for (const auto& [object, reason] : now)
        if (!aside_.contains(object))
            log::error("{}: the kernel refuses {}, which is set aside; what it had before stays, all else goes on: {}",
                       net::family_name(family_), object, reason);
    for (const auto& [object, reason] : aside_)
        if (!now.contains(object)) log::info("{}: {} is no longer set aside", net::family_name(family_), object);
    aside_ = std::move(now);
}

void Proxier::update_metrics() {
    counts_.objects_set_aside.set(static_cast<double>(aside_.size()));
    counts_.service_ports.set(static_cast<double>(planner_->service_port_count()));
    counts_.destinations.set(static_cast<double>(plan_counts_.destinations()));
    counts_.endpoints.set(static_cast<double>(plan_counts_.endpoints()));
    counts_.health_check_ports.set(static_cast<double>(health_check_ports_.open(family_)));
    metrics_.kube_proxy().set_without_local_endpoints(family_, plan_counts_.without_local_internal(),
                                                      plan_counts_.without_local_external());
    counts_.drift_alarm.set(guard_.alarm() ? 1 : 0);
    counts_.foreign_writes.add(static_cast<double>(guard_.writes()) - counts_.foreign_writes.value());
    counts_.repairs.add(static_cast<double>(guard_.repairs() - std::exchange(repairs_counted_, guard_.repairs())));
    if (!flows_) return;
    const auto removed = flows_->counts().removed;
    counts_.stale_flows_removed.add(static_cast<double>(removed - std::exchange(flows_counted_, removed)));
}

void Proxier::finish() {
    constexpr std::chrono::seconds kLimit{10};
    const auto reached = std::make_shared<std::promise<void>>();
    background_.run([reached] { reached->set_value(); });
    const bool done = reached->get_future().wait_for(kLimit) == std::future_status::ready;
    if (!done || (flows_ && !flows_->wait_idle(kLimit)))
        log::warning("{}: UDP flows that changed are still being looked for; left to time out",
                     net::family_name(family_));
}

}  // namespace ghostip::agent

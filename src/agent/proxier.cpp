#include "agent/proxier.h"

#include <malloc.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <unordered_set>
#include <utility>

#include <fmt/ranges.h>

#include "base/log.h"

namespace ghostip::agent {
namespace {

double seconds_since(Proxier::Time start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The kernel holds something else than what was written: there is no trouble that a pause would end.
bool is_mismatch(const Error& error) { return error.code == ENOENT || error.code == EEXIST; }

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
      dataplane_(std::move(dataplane)),
      flows_(std::move(flows)),
      metrics_(listeners.metrics),
      counts_(listeners.metrics.of(family)),
      health_(listeners.health),
      health_check_ports_(listeners.health_check_ports),
      background_(background),
      answers_(std::move(answers)),
      service_counters_(open_counters(family_, *dataplane_, metrics_)),
      latency_(family, config_.wall_clock()),
      reconcile_at_(Time::min()),
      guard_(family, config_.drift),
      check_interval_(config_.full_check_interval),
      check_at_(Time::max()) {
    health_.updated(family_);
    metrics_.kube_proxy().queued(family_, config_.wall_clock());
}

Result<void> Proxier::sync(const std::vector<api::Change>& changes, const plan::HostFacts* host, Time now) {
    const auto start = std::chrono::steady_clock::now();
    slow_work_queued_ = false;
    health_.queued(family_);
    const auto deltas = plan(changes, host);
    if (deltas.empty() && in_sync()) {
        settled(now);
        return {};
    }
    // While the kernel does not hold the plan, changes wait for the next try, so that a failure that lasts is not asked
    // for at every change.
    metrics_.kube_proxy().queued(family_, config_.wall_clock());
    if (reconcile_at_ && now < *reconcile_at_) return {};
    const double planned = seconds_since(start);
    const auto wanted = kind_of_sync();
    const auto result = program(deltas, now);
    (result ? counts_.sync_success : counts_.sync_error).add();
    const double seconds = seconds_since(start);
    counts_.sync_duration.observe(seconds);
    metrics_.kube_proxy().synced(family_, result ? *result : wanted, result ? Ending::kSuccess : Ending::kFailure,
                                 seconds, config_.wall_clock());
    if (!result) {
        latency_.sync_failed();
        failed(result.error(), now);
        return result.error();
    }
    log::debug("{}: synced in {:.2f} ms, of which planning {:.2f}", net::family_name(family_),
               seconds_since(start) * 1000, planned * 1000);
    settled(now);
    clean_flows(slow_work_queued_);
    update_metrics();
    return {};
}

// The kernel holds all that was planned.
void Proxier::settled(Time now) {
    health_.updated(family_);
    health_check_ports_.settle(family_, now);
    for (const double seconds : latency_.sync_succeeded(config_.wall_clock()))
        metrics_.kube_proxy().programmed(family_, seconds);
    const auto waited = std::exchange(waiting_, {});
    metrics_.kube_proxy().settled_changes(waited.services, waited.endpoint_slices);
}

std::vector<plan::Delta> Proxier::plan(const std::vector<api::Change>& changes, const plan::HostFacts* host) {
    for (const auto& change : changes)
        if (change.key.kind == api::Kind::kEndpointSlice && !change.object)
            if (const auto service = planner_->service_of(change.key)) latency_.forget(*service);
    const auto before = planner_->stats();
    std::vector<plan::Delta> deltas;
    if (host != nullptr) deltas.push_back(planner_->set_host(*host));
    deltas.push_back(planner_->apply(changes));
    tell_refusals();

    std::unordered_set<plan::ServiceName> planned;
    for (const auto& delta : deltas) {
        stale_flows_.merge(flow_finder_.next(delta));
        tell_node_rules(delta);
        plan_counts_.apply(delta);
        if (service_counters_) service_counters_->apply(delta);
        health_check_ports_.take(family_, delta);
        for (const auto& change : delta.service_ports)
            planned.insert((change.after ? change.after : change.before)->name.service);
    }
    latency_.take(changes, planned);
    const Waiting came{planner_->stats().service_changes - before.service_changes,
                       planner_->stats().endpoint_changes - before.endpoint_changes};
    waiting_.services += came.services;
    waiting_.endpoint_slices += came.endpoint_slices;
    metrics_.kube_proxy().took_changes(came.services, came.endpoint_slices);
    std::erase_if(deltas, [](const auto& delta) { return delta.empty(); });
    return deltas;
}

Result<Proxier::Kind> Proxier::program(const std::vector<plan::Delta>& deltas, Time now) {
    if (reconcile_at_) {
        RETURN_IF_ERROR(reconcile(now));
        return Kind::kFull;
    }
    for (const auto& delta : deltas) {
        const auto outcome = dataplane_->apply(delta);
        // Who keeps writing meets a pause here, too.
        if (!outcome && is_mismatch(outcome.error()) && !guard_.alarm()) {
            log::warning("{}: {}; somebody changed what we wrote, so everything is looked at",
                         net::family_name(family_), outcome.error().message);
            RETURN_IF_ERROR(reconcile(now));
            return Kind::kFull;
        }
        if (!outcome) return outcome.error();
        take_outcome(*outcome);
    }
    return Kind::kPartial;
}

Result<void> Proxier::reconcile(Time now) {
    const auto start = std::chrono::steady_clock::now();
    const auto plan = planner_->plan();
    ASSIGN_OR_RETURN(const auto outcome, dataplane_->reconcile(plan));
    take_outcome(outcome);
    reconcile_at_.reset();
    pause_ = {};
    // A full sync needs several times the memory that stays in use; give the rest back.
    ::malloc_trim(0);
    log::info("{}: {} service ports in the kernel; {} elements written, {} removed in {} transactions, {:.1f} ms",
              net::family_name(family_), plan.service_ports.size(), outcome.elements_added, outcome.elements_deleted,
              outcome.transactions, seconds_since(start) * 1000);
    if (!started_) check_at_ = now + check_interval_;
    started_ = true;
    return {};
}

void Proxier::take_outcome(const dataplane::Outcome& outcome) {
    transactions_ += outcome.transactions;
    metrics_.transactions().add(outcome.transactions);
    for (const auto time : outcome.transaction_times)
        counts_.transaction_duration.observe(std::chrono::duration<double>(time).count());
    tell_set_aside();
    slow_work_queued_ = slow_work_queued_ || !outcome.later.empty();
    for (const auto& work : outcome.later)
        background_.run([work, failed = answers_.failed, family = family_] {
            if (auto result = work(); !result) failed(family, result.error());
        });
}

// At once, but behind the slow work of this sync: a client that is still stuck to an endpoint that left would make its
// flow anew. What is said later never overtakes what was said before.
void Proxier::clean_flows(bool behind_slow_work) {
    if (!flows_ || stale_flows_.empty()) return;
    const auto hand_on = [flows = flows_.get(), queue = flow_queue_, family = family_] {
        if (!queue->words.empty()) flows->submit(family, std::exchange(queue->words, {}));
    };
    const std::lock_guard lock(flow_queue_->mutex);
    flow_queue_->words.merge(std::exchange(stale_flows_, {}));
    if (behind_slow_work) {
        ++flow_queue_->queued;
        background_.run([hand_on, queue = flow_queue_] {
            const std::lock_guard inner(queue->mutex);
            --queue->queued;
            hand_on();
        });
    } else if (flow_queue_->queued == 0) {
        hand_on();
    }
}

void Proxier::failed(const Error& error, Time now) {
    pause_ = pause_.count() == 0 ? config_.retry_interval : std::min(pause_ * 2, config_.longest_retry_interval);
    log::error("{}: {}; rules in place stay; everything is looked at and tried again in {} ms",
               net::family_name(family_), error.message, pause_.count());
    health_.queued(family_);
    reconcile_at_ = now + pause_;
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
    Time due = reconcile_at_.value_or(Time::max());
    if (const auto drift = guard_.due(); drift && !reconcile_at_) due = std::min(due, *drift);
    if (started_ && !looking_) due = std::min(due, check_at_);
    return due;
}

void Proxier::tick(Time now) {
    guard_.tick(now);
    if (reconcile_at_ && now >= *reconcile_at_) static_cast<void>(sync({}, nullptr, now));
    if (!reconcile_at_) repair(now);
    if (started_ && !looking_ && now >= check_at_) {
        looking_ = true;
        background_.run([look = dataplane_->look(planner_->plan()), answer = answers_.sight, family = family_] {
            answer(family, look());
        });
    }
    for (const auto& line : guard_.take_lines()) log::write(line.level, line.text);
    update_metrics();
}

void Proxier::repair(Time now) {
    const auto writes = guard_.take(now);
    if (writes.empty()) return;
    health_.queued(family_);
    const auto outcome = dataplane_->repair(planner_->plan(), writes);
    if (!outcome) {
        guard_.failed(outcome.error().message);
        failed(outcome.error(), now);
        return;
    }
    take_outcome(*outcome);
    guard_.repaired(outcome->differences, outcome->examples, now);
    health_.updated(family_);
}

void Proxier::take_sight(Result<Sight> sight, Time now) {
    looking_ = false;
    check_at_ = now + check_interval_;
    if (!sight) {
        log::warning("{}: {}; rules in place stay; looked at again in {} s", net::family_name(family_),
                     sight.error().message, std::chrono::duration_cast<std::chrono::seconds>(check_interval_).count());
        return;
    }
    if (reconcile_at_) return;  // that will look itself
    const auto outcome = dataplane_->check(planner_->plan(), *sight);
    if (!outcome) {
        failed(outcome.error(), now);
        return;
    }
    take_outcome(*outcome);
    health_.updated(family_);
    if (outcome->differences == 0) return;
    counts_.repairs.add(static_cast<double>(outcome->differences));
    log::warning("{}: the kernel differed in {} things that nobody had told of, and was repaired; for example: {}",
                 net::family_name(family_), outcome->differences, fmt::join(outcome->examples, "; "));
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
void Proxier::tell_set_aside() {
    std::map<std::string, std::string> now;
    for (auto& entry : dataplane_->set_aside()) now.emplace(std::move(entry.object), std::move(entry.reason));
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

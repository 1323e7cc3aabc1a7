// The calls of a Proxier: what begins when, and what is done when it is over.
#include <malloc.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/ranges.h>

#include "agent/proxier.h"
#include "base/log.h"

namespace ghostip::agent {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The kernel holds something else than what was written: there is no trouble that a pause would end.
bool is_mismatch(const Error& error) { return error.code == ENOENT || error.code == EEXIST; }

}  // namespace

bool Proxier::syncing() const {
    return programmer_.busy() && (call_.what == What::kReconcile || call_.what == What::kApply);
}

// Repairs come before changes, or a stream of changes would let nobody repair; the guard sees to it that they do not
// come all the time.
Result<void> Proxier::begin_due(Time now) {
    Result<void> synced;
    if (reconcile_at_) synced = begin_sync(now);
    begin_repair(now);
    begin_check(now);
    if (!reconcile_at_ && !waiting_delta_.empty()) synced = begin_sync(now);
    return synced;
}

Result<void> Proxier::begin_sync(Time now) {
    if (!may_begin(now) || now < next_sync_) return {};
    if (reconcile_at_) {
        if (now < *reconcile_at_) return {};
        metrics_.kube_proxy().queued(family_, config_.wall_clock());
        return reconcile(now);
    }
    return waiting_delta_.empty() ? Result<void>() : apply(now);
}

// All that waits goes with the call that begins now.
void Proxier::carry() {
    under_way_.add(std::exchange(waiting_, {}));
    waiting_delta_ = {};
    waiting_since_.reset();
    latency_.sync_began();
}

Result<void> Proxier::reconcile(Time now) {
    carry();
    reconcile_at_.reset();
    sight_.reset();
    const auto plan = std::make_shared<const plan::Plan>(planner_->plan());
    call_.service_ports = plan->service_ports.size();
    // What reading and planning have needed and do not use any more, before the dataplane needs as much: that is the
    // peak.
    ::malloc_trim(0);
    return begin(
        What::kReconcile, [plan](dataplane::Dataplane& dataplane) { return dataplane.reconcile(*plan); }, now);
}

Result<void> Proxier::apply(Time now) {
    const auto delta = std::make_shared<const plan::Delta>(waiting_delta_.take());
    carry();
    return begin(
        What::kApply, [delta](dataplane::Dataplane& dataplane) { return dataplane.apply(*delta); }, now);
}

void Proxier::begin_repair(Time now) {
    if (reconcile_at_ || !may_begin(now)) return;
    auto writes = guard_.take(now);
    if (writes.empty()) return;
    health_.queued(family_);
    const auto call = [plan = applied_plan(), writes = std::move(writes)](dataplane::Dataplane& dataplane) {
        return dataplane.repair(plan, writes);
    };
    static_cast<void>(begin(What::kRepair, call, now));
}

void Proxier::begin_check(Time now) {
    if (!sight_ || !may_begin(now)) return;
    const auto sight = *std::exchange(sight_, std::nullopt);
    if (reconcile_at_) return;  // that will look itself
    const auto call = [plan = applied_plan(), sight](dataplane::Dataplane& dataplane) {
        return dataplane.check(plan, sight);
    };
    static_cast<void>(begin(What::kCheck, call, now));
}

Result<void> Proxier::begin(What what, Programmer::Call call, Time now) {
    call_.what = what;
    call_.start = std::chrono::steady_clock::now();
    programmer_.begin(std::move(call));
    const auto answer = programmer_.take();
    return answer ? ended(*answer, now) : Result<void>();
}

void Proxier::take_answer(Time now) {
    if (const auto answer = programmer_.take()) static_cast<void>(ended(*answer, now));
}

Result<void> Proxier::ended(const Programmer::Answer& answer, Time now) {
    if (call_.what == What::kReconcile || call_.what == What::kApply) return sync_ended(answer, now);
    const bool repairs = call_.what == What::kRepair;
    if (!answer.outcome) {
        if (repairs) guard_.failed(answer.outcome.error().message);
        failed(answer.outcome.error(), now);
        return answer.outcome.error();
    }
    const auto& outcome = *answer.outcome;
    take_outcome(outcome, answer.set_aside);
    health_.updated(family_, waiting_since_);
    if (repairs) {
        guard_.repaired(outcome.differences, outcome.examples, now);
    } else if (outcome.differences > 0) {
        counts_.repairs.add(static_cast<double>(outcome.differences));
        log::warning("{}: the kernel differed in {} things that nobody had told of, and was repaired; for example: {}",
                     net::family_name(family_), outcome.differences, fmt::join(outcome.examples, "; "));
    }
    return {};
}

Result<void> Proxier::sync_ended(const Programmer::Answer& answer, Time now) {
    const auto& result = answer.outcome;
    // Who keeps writing meets a pause here, too.
    if (!result && call_.what == What::kApply && is_mismatch(result.error()) && !guard_.alarm()) {
        log::warning("{}: {}; somebody changed what we wrote, so everything is looked at", net::family_name(family_),
                     result.error().message);
        return reconcile(now);
    }
    tried_ = true;
    next_sync_ = config_.calls == dataplane::Calls::kQuick ? Time::min() : now + config_.min_sync_period;
    (result ? counts_.sync_success : counts_.sync_error).add();
    const double seconds = seconds_since(under_way_.since.value_or(call_.start));
    counts_.sync_duration.observe(seconds);
    metrics_.kube_proxy().synced(
        family_, call_.what == What::kReconcile ? KubeProxyMetrics::Sync::kFull : KubeProxyMetrics::Sync::kPartial,
        result ? KubeProxyMetrics::Outcome::kSuccess : KubeProxyMetrics::Outcome::kFailure,
        seconds_since(call_.start) + under_way_.planning.count(), config_.wall_clock());
    if (!result) {
        latency_.sync_failed();
        failed(result.error(), now);
        return result.error();
    }
    take_outcome(*result, answer.set_aside);
    if (result->flows) under_way_.flows = *result->flows;
    if (call_.what == What::kReconcile) reconciled(*result, now);
    log::debug("{}: synced in {:.2f} ms, of which planning {:.2f}", net::family_name(family_), seconds * 1000,
               under_way_.planning.count() * 1000);
    failure_.reset();
    settled(!result->later.empty(), now);
    update_metrics();
    return {};
}

void Proxier::reconciled(const dataplane::Outcome& outcome, Time now) {
    pause_ = {};
    // A full sync needs several times the memory that stays in use; give the rest back.
    ::malloc_trim(0);
    log::info("{}: {} service ports in the kernel; {} elements written, {} removed in {} transactions, {:.1f} ms",
              net::family_name(family_), call_.service_ports, outcome.elements_added, outcome.elements_deleted,
              outcome.transactions, seconds_since(call_.start) * 1000);
    if (!started_) check_at_ = now + check_interval_;
    started_ = true;
}

// The kernel holds all that was planned before the call that is over, and what came and went since.
void Proxier::settled(bool behind_slow_work, Time now) {
    if (in_sync()) carry();
    const auto done = std::exchange(under_way_, {});
    if (!programmer_.busy()) health_.updated(family_, waiting_since_);  // else a repair is waited for
    health_check_ports_.take(family_, done.for_ports.delta());
    health_check_ports_.settle(family_, now);
    for (const double seconds : latency_.sync_succeeded(config_.wall_clock()))
        metrics_.kube_proxy().programmed(family_, seconds);
    metrics_.kube_proxy().settled_changes(done.services, done.endpoint_slices);
    clean_flows(done.flows, behind_slow_work);
}

// At once, but behind the slow work of this sync: a client that is still stuck to an endpoint that left would make its
// flow anew. What is said later never overtakes what was said before.
void Proxier::clean_flows(plan::StaleFlows stale, bool behind_slow_work) {
    if (!flows_ || stale.empty()) return;
    const auto hand_on = [flows = flows_.get(), queue = flow_queue_, family = family_] {
        if (!queue->words.empty()) flows->submit(family, std::exchange(queue->words, {}));
    };
    const std::lock_guard lock(flow_queue_->mutex);
    flow_queue_->words.merge(std::move(stale));
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

void Proxier::take_outcome(const dataplane::Outcome& outcome, const std::vector<dataplane::SetAside>& aside) {
    transactions_ += outcome.transactions;
    metrics_.transactions().add(outcome.transactions);
    for (const auto time : outcome.transaction_times)
        counts_.transaction_duration.observe(std::chrono::duration<double>(time).count());
    metrics_.kube_proxy().set_rules(family_, outcome.rules);
    tell_set_aside(aside);
    for (const auto& work : outcome.later)
        background_.run([work, failed = answers_.failed, family = family_] {
            if (auto result = work(); !result) failed(family, result.error());
        });
}

// What went with the call waits again, for a look at everything.
void Proxier::failed(const Error& error, Time now) {
    pause_ = pause_.count() == 0 ? config_.retry_interval : std::min(pause_ * 2, config_.longest_retry_interval);
    log::error("{}: {}; rules in place stay; everything is looked at and tried again in {} ms",
               net::family_name(family_), error.message, pause_.count());
    health_.queued(family_);
    reconcile_at_ = now + pause_;
    failure_ = error;
    waiting_delta_ = {};
    under_way_.add(std::exchange(waiting_, {}));
    waiting_ = std::exchange(under_way_, {});
    waiting_.since.reset();
    waiting_.planning = {};
}

}  // namespace ghostip::agent

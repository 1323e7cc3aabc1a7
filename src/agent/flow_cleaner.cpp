#include "agent/flow_cleaner.h"

#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include "base/log.h"

namespace ghostip::agent {

using kernel::conntrack::Conntrack;
using kernel::conntrack::End;
using kernel::conntrack::Entry;
using kernel::conntrack::Filter;

namespace {

plan::AddressPort to_plan(const End& end) { return {end.address, end.port}; }

}  // namespace

// Ports alone come second: node ports are one port on many addresses, and of an IPv6 filter the kernel compares only
// the port (kernel/conntrack/messages.cpp).
std::vector<Filter> filters_for(net::Family family, const plan::StaleFlows& stale, std::size_t max_narrow_lists) {
    std::vector<Filter> filters;
    const auto& destinations = stale.destinations();
    if (destinations.empty()) return filters;
    if (family == net::Family::kIpv4 && destinations.size() <= max_narrow_lists) {
        for (const auto& [dialled, answerers] : destinations)
            filters.push_back({family, dialled.address, dialled.port});
        return filters;
    }
    std::unordered_set<std::uint16_t> ports;
    for (const auto& [dialled, answerers] : destinations) {
        ports.insert(dialled.port);
        if (ports.size() > max_narrow_lists) return {{family, std::nullopt, std::nullopt}};
    }
    for (const auto port : ports) filters.push_back({family, std::nullopt, port});
    return filters;
}

FlowCleaner::FlowCleaner(std::unique_ptr<Conntrack> conntrack, FlowCleanerConfig config)
    : config_(std::move(config)), conntrack_(std::move(conntrack)), thread_([this] { run(); }) {}

FlowCleaner::~FlowCleaner() { stop(); }

void FlowCleaner::submit(net::Family family, plan::StaleFlows stale) {
    if (stale.empty()) return;
    const std::scoped_lock lock(mutex_);
    waiting_[family].merge(std::move(stale));
    changed_.notify_all();
}

bool FlowCleaner::wait_idle(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [this] { return stop_ || (waiting_.empty() && !busy_); }) && !stop_;
}

void FlowCleaner::stop() {
    {
        const std::scoped_lock lock(mutex_);
        stop_ = true;
        changed_.notify_all();
    }
    const std::scoped_lock lock(stopping_);
    if (thread_.joinable()) thread_.join();
}

FlowCleanerCounts FlowCleaner::counts() const { return {removed_, dumps_, failures_, abandoned_}; }

void FlowCleaner::run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
        if (waiting_.empty()) {
            changed_.wait(lock);
            continue;
        }
        if (Clock::now() < not_before_) {
            changed_.wait_until(lock, not_before_);
            continue;
        }
        Work work = std::exchange(waiting_, {});
        busy_ = true;
        not_before_ = {};
        for (auto& [family, stale] : work) {
            lock.unlock();
            const auto result = clean(family, stale);
            lock.lock();
            settle(family, std::move(stale), result);
        }
        not_before_ = std::max(not_before_, Clock::now() + config_.min_interval);
        busy_ = false;
        changed_.notify_all();
    }
}

// One flow that cannot be removed keeps no other one.
// A later word waits already: an endpoint came while the list was being made.
bool FlowCleaner::made_right_by_now(net::Family family, const Entry& entry) {
    const std::lock_guard lock(mutex_);
    const auto later = waiting_.find(family);
    if (later == waiting_.end()) return false;
    const auto dialled = to_plan(entry.original.destination);
    return later->second.destinations().contains(dialled) &&
           !later->second.contains(dialled, to_plan(entry.reply.source));
}

Result<void> FlowCleaner::clean(net::Family family, const plan::StaleFlows& stale) {
    const auto wanted = [&](const Entry& entry) {
        return stale.contains(to_plan(entry.original.destination), to_plan(entry.reply.source));
    };
    std::optional<Error> first_error;
    std::uint64_t removed = 0;
    const auto start = Clock::now();
    for (const auto& filter : filters_for(family, stale, config_.max_narrow_lists)) {
        if (stop_) return {};
        const auto entries = conntrack_->dump(filter, wanted);
        if (!entries) {
            if (!first_error) first_error = entries.error();
            continue;
        }
        ++dumps_;
        for (const auto& entry : *entries) {
            if (stop_) return {};
            if (made_right_by_now(family, entry)) continue;
            const auto gone = conntrack_->remove(entry);
            if (gone && *gone) {
                ++removed;
                ++removed_;
            }
            if (!gone && !first_error) first_error = gone.error();
        }
    }
    if (config_.on_run) config_.on_run(family, Clock::now() - start, removed);
    if (removed != 0)
        log::debug("{}: removed {} UDP flows whose endpoint is not theirs any more", net::family_name(family), removed);
    if (first_error) return *first_error;
    return {};
}

void FlowCleaner::settle(net::Family family, plan::StaleFlows stale, const Result<void>& result) {
    if (result) {
        attempts_[family] = 0;
        return;
    }
    ++failures_;
    if (++attempts_[family] >= config_.attempts) {
        attempts_[family] = 0;
        ++abandoned_;
        log::warning("{}: {}; given up after {} attempts: UDP flows to endpoints that left end by their own timeouts",
                     net::family_name(family), result.error().message, config_.attempts);
        return;
    }
    log::warning("{}: {}; trying again in {} ms", net::family_name(family), result.error().message,
                 config_.retry_interval.count());
    // What came meanwhile is the later word.
    auto& waiting = waiting_[family];
    stale.merge(std::move(waiting));
    waiting = std::move(stale);
    not_before_ = Clock::now() + config_.retry_interval;
}

}  // namespace ghostip::agent

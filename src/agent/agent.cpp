#include "agent/agent.h"

#include <malloc.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <fstream>
#include <optional>

#include "agent/modes.h"
#include "base/log.h"
#include "kernel/route/addresses.h"

namespace ghostip::agent {
namespace {

using Clock = std::chrono::steady_clock;

// IPv6 can be compiled in and still be switched off.
bool family_enabled(net::Family family) {
    if (family == net::Family::kIpv4) return true;
    if (::access("/proc/net/if_inet6", F_OK) != 0) return false;
    std::ifstream file("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    int disabled = 0;
    return !(file >> disabled) || disabled != 1;
}

plan::HostFacts host_facts() {
    auto addresses = kernel::route::interface_addresses();
    if (!addresses)
        log::warning("{}; node ports will only be open on the Node's own addresses", addresses.error().message);
    return {addresses.value_or({})};
}

double milliseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace

Agent::Agent(AgentConfig config, api::ObjectSource& source, Health& health)
    : config_(std::move(config)), source_(source), health_(health), stop_event_(::eventfd(0, EFD_CLOEXEC)) {}

Agent::~Agent() {
    stop();
    if (address_thread_.joinable()) address_thread_.join();
    source_.stop();
}

Result<std::unique_ptr<Agent>> Agent::create(AgentConfig config, api::ObjectSource& source, Health& health) {
    const auto* mode = config.mode;
    std::unique_ptr<Agent> agent(new Agent(std::move(config), source, health));
    const plan::HostFacts host = host_facts();
    std::string reasons;
    for (const auto family : net::kFamilies) {
        if (!family_enabled(family)) {
            log::info("{} is switched off on this host: not proxied", net::family_name(family));
            continue;
        }
        const auto missing = mode->missing(family);
        for (const auto& sentence : missing) {
            if (reasons.find(sentence) != std::string::npos) continue;  // the same for both families
            log::warning("{} mode: {}", mode->name, sentence);
            reasons += (reasons.empty() ? "" : "; ") + sentence;
        }
        if (!missing.empty()) continue;
        ASSIGN_OR_RETURN(auto dataplane, mode->open(family));
        agent->proxiers_.push_back({family,
                                    std::make_unique<plan::Planner>(family, agent->config_.node, mode->profile(), host),
                                    std::move(dataplane)});
    }
    if (agent->proxiers_.empty()) return fail("this host cannot do {} mode: {}", mode->name, reasons);
    return agent;
}

void Agent::stop() {
    stop_.store(true);
    const std::uint64_t one = 1;
    (void)!::write(stop_event_.get(), &one, sizeof one);
    queue_.wake();
}

std::vector<api::Change> Agent::wait_for_first_list() {
    std::vector<api::Change> changes;
    while (!stop_) {
        auto batch = queue_.take(std::chrono::seconds(1));
        changes.insert(changes.end(), std::make_move_iterator(batch.changes.begin()),
                       std::make_move_iterator(batch.changes.end()));
        if (batch.synced) break;
    }
    return changes;
}

Result<void> Agent::run_once() {
    RETURN_IF_ERROR(source_.start(queue_));
    const auto changes = wait_for_first_list();
    if (stop_) return fail("stopped before the first sync");
    return sync(changes);
}

Result<void> Agent::run() {
    RETURN_IF_ERROR(source_.start(queue_));
    address_thread_ = std::thread([this] { watch_addresses(); });
    std::vector<api::Change> changes = wait_for_first_list();
    bool full_sync_due = true;  // the first one is
    Clock::time_point due_at = Clock::now();
    while (!stop_) {
        if (!changes.empty() || addresses_changed_ || (full_sync_due && Clock::now() >= due_at)) {
            const auto result = sync(changes);
            full_sync_due = !result.has_value();
            if (result) {
                health_.synced();
            } else {
                log::error("{}; rules in place stay; trying again with a full sync in {} ms", result.error().message,
                           config_.retry_interval.count());
                due_at = Clock::now() + config_.retry_interval;
            }
            std::this_thread::sleep_for(config_.min_sync_interval);
        }
        changes = queue_.take(full_sync_due ? config_.retry_interval : std::chrono::milliseconds(60000)).changes;
    }
    return {};
}

Result<void> Agent::sync(const std::vector<api::Change>& changes) {
    const bool host_changed = addresses_changed_.exchange(false);
    std::optional<Error> first_error;
    for (auto& proxier : proxiers_) {
        const auto result = sync_family(proxier, changes, host_changed);
        if (!result && !first_error) first_error = result.error().within(net::family_name(proxier.family));
    }
    if (first_error) return *first_error;
    return {};
}

Result<void> Agent::sync_family(Proxier& proxier, const std::vector<api::Change>& changes, bool host_changed) {
    const auto start = Clock::now();
    if (host_changed && !proxier.needs_replace) {
        const auto delta = proxier.planner->set_host(host_facts());
        if (!delta.empty()) {
            if (auto result = proxier.dataplane->apply(delta); !result) {
                proxier.needs_replace = true;
                log::warning("{}: {}", net::family_name(proxier.family), result.error().message);
            }
        }
    } else if (host_changed) {
        (void)proxier.planner->set_host(host_facts());
    }
    const auto delta = proxier.planner->apply(changes);
    for (const auto& conflict : proxier.planner->take_conflicts())
        log::warning("{} is claimed by two Services: {} has it, {} does not get it", conflict.key.text(),
                     conflict.winner.text(), conflict.loser.text());
    const double planned = milliseconds_since(start);
    if (proxier.needs_replace) {
        const auto plan = proxier.planner->plan();
        RETURN_IF_ERROR(proxier.dataplane->replace(plan));
        proxier.needs_replace = false;
        // A full sync needs several times the memory that stays in use; give the rest back.
        ::malloc_trim(0);
        log::info("{}: {} service ports in the kernel ({:.1f} ms planning, {:.1f} ms programming)",
                  net::family_name(proxier.family), plan.service_ports.size(), planned,
                  milliseconds_since(start) - planned);
        return {};
    }
    if (delta.empty()) return {};
    if (auto result = proxier.dataplane->apply(delta); !result) {
        proxier.needs_replace = true;
        return std::move(result).error();
    }
    log::debug("{}: {} service ports changed ({:.2f} ms planning, {:.2f} ms programming)",
               net::family_name(proxier.family), delta.service_ports.size(), planned,
               milliseconds_since(start) - planned);
    return {};
}

void Agent::watch_addresses() {
    auto watch = kernel::route::AddressWatch::open();
    if (!watch) {
        log::warning("{}; changes of this node's addresses are not followed", watch.error().message);
        return;
    }
    while (watch->wait(stop_event_.get())) {
        addresses_changed_ = true;
        queue_.wake();
    }
}

}  // namespace ghostip::agent

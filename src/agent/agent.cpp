#include "agent/agent.h"

#include <linux/capability.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <variant>

#include "agent/modes.h"
#include "agent/neighbours.h"
#include "agent/privileges.h"
#include "base/log.h"
#include "kernel/conntrack/linux.h"
#include "kernel/route/addresses.h"
#include "kernel/route/gateways.h"

namespace ghostip::agent {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::minutes kNeighboursInterval{10};

Result<plan::HostFacts> host_facts(const plan::ModeProfile& profile) {
    ASSIGN_OR_RETURN(auto addresses, kernel::route::interface_addresses(profile.service_device));
    ASSIGN_OR_RETURN(auto gateways, kernel::route::gateways());
    return plan::HostFacts{std::move(addresses), std::move(gateways)};
}

std::unique_ptr<FlowCleaner> open_flow_cleaner(KubeProxyMetrics& metrics) {
    FlowCleanerConfig config;
    config.on_run = [&metrics](net::Family family, std::chrono::duration<double> took, std::uint64_t removed) {
        metrics.reconciled_conntrack(family, took.count(), removed);
    };
    auto conntrack = kernel::conntrack::LinuxConntrack::open();
    if (conntrack) return std::make_unique<FlowCleaner>(std::move(*conntrack), std::move(config));
    log::warning("{}; UDP flows to endpoints that leave will only end by time-out", conntrack.error().message);
    return nullptr;
}

NodeState node_state(const api::Node& node) {
    return node.deleting || node.to_be_deleted_by_autoscaler ? NodeState::kLeaving : NodeState::kEligible;
}

}  // namespace

// IPv6 can be compiled in and still be switched off.
bool family_enabled(net::Family family) {
    if (family == net::Family::kIpv4) return true;
    if (::access("/proc/net/if_inet6", F_OK) != 0) return false;
    std::ifstream file("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    int disabled = 0;
    return !(file >> disabled) || disabled != 1;
}

Agent::Agent(AgentConfig config, api::ObjectSource& source, Health& health, Metrics& metrics)
    : config_(std::move(config)),
      source_(source),
      health_(health),
      metrics_(metrics),
      health_check_ports_(health, config_.on_health_check_port_failed),
      stop_event_(::eventfd(0, EFD_CLOEXEC)) {}

Agent::~Agent() {
    stop();
    if (address_thread_.joinable()) address_thread_.join();
    if (drift_thread_.joinable()) drift_thread_.join();
    source_.stop();
    background_.stop();
    proxiers_.clear();  // which waits for calls that are under way
}

Result<std::unique_ptr<Agent>> Agent::create(AgentConfig config, api::ObjectSource& source, Health& health,
                                             Metrics& metrics) {
    std::unique_ptr<Agent> agent(new Agent(std::move(config), source, health, metrics));
    RETURN_IF_ERROR(agent->open_families());
    return agent;
}

Result<void> Agent::open_families() {
    const auto* mode = config_.mode;
    auto known = host_facts(mode->profile());
    if (!known) {
        log::warning("{}; node ports are only open on the Node's own addresses until that works",
                     known.error().message);
        addresses_changed_ = true;
    }
    const plan::HostFacts host = std::move(known).value_or({});
    std::string reasons;
    for (const auto family : net::kFamilies) {
        if (!family_enabled(family)) {
            log::info("{} is switched off on this host: not proxied", net::family_name(family));
            continue;
        }
        const auto missing = mode->missing(family, config_.dataplane);
        for (const auto& sentence : missing) {
            if (reasons.find(sentence) != std::string::npos) continue;  // the same for both families
            log::warning("{} mode: {}", mode->name, sentence);
            reasons += (reasons.empty() ? "" : "; ") + sentence;
        }
        if (!missing.empty()) continue;
        if (std::none_of(host.addresses.begin(), host.addresses.end(), [&](const auto& address) {
                return address.family() == family && !address.is_loopback() && !address.is_link_local();
            }))
            log::info(
                "{}: no address of this host but on loopback or links; programmed all the same, for when one comes",
                net::family_name(family));
        ASSIGN_OR_RETURN(auto dataplane, mode->open(family, config_.dataplane));
        if (config_.dataplane.count_services && !dataplane->count_reader())
            log::warning("{}: {} mode cannot count the packets of Services on this host: not counted",
                         net::family_name(family), mode->name);
        // With these privileges it is not what was expected.
        const bool may_program = has_capability(CAP_NET_ADMIN);
        for (const auto& remark : dataplane->remarks())
            log::at_level(may_program ? log::Level::kWarning : log::Level::kInfo, "{} mode: {}", mode->name, remark);
        if (variant_.empty() && !dataplane->variant_name().empty()) {
            variant_ = dataplane->variant_name();
            log::info("{} mode, variant {}", mode->name, variant_);
        }
        proxiers_.push_back(open_family(family, host, std::move(dataplane)));
    }
    if (proxiers_.empty()) return fail("this host cannot do {} mode: {}", mode->name, reasons);
    return {};
}

std::unique_ptr<Proxier> Agent::open_family(net::Family family, const plan::HostFacts& host,
                                            std::unique_ptr<dataplane::Dataplane> dataplane) {
    Proxier::Answers answers;
    answers.sight = [this](net::Family of, Result<Proxier::Sight> sight) {
        post([&](Inbox& inbox) { inbox.sights.emplace_back(of, std::move(sight)); });
    };
    answers.failed = [this](net::Family of, Error error) {
        post([&](Inbox& inbox) { inbox.failures.emplace_back(of, std::move(error)); });
    };
    answers.call = [this] { queue_.wake(); };
    auto planner = std::make_unique<plan::Planner>(family, config_.node, config_.mode->profile(), host);
    auto config = config_.proxier;
    config.calls = config_.mode->calls;
    config.min_sync_period = config_.min_sync_period;
    return std::make_unique<Proxier>(
        family, config, std::move(planner), std::move(dataplane), open_flow_cleaner(metrics_.kube_proxy()),
        Proxier::Listeners{metrics_, health_, health_check_ports_}, background_, std::move(answers));
}

void Agent::stop() {
    stop_.store(true);
    const std::uint64_t one = 1;
    (void)!::write(stop_event_.get(), &one, sizeof one);
    queue_.wake();
    resumed_.notify_all();
}

void Agent::pause() {
    const std::lock_guard turn(turn_);
    paused_ = true;
    health_check_ports_.suspend();
}

void Agent::resume() {
    {
        const std::lock_guard turn(turn_);
        if (!paused_) return;
        paused_ = false;
        const auto now = Clock::now();
        health_check_ports_.resume(now);
        for (auto& proxier : proxiers_) proxier->check_soon(now);
    }
    resumed_.notify_all();
    queue_.wake();
}

// The loop may work while it has this; not while it is paused.
std::unique_lock<std::mutex> Agent::begin_turn() {
    constexpr std::chrono::milliseconds kLook{100};  // stop() does not wait for a turn, so that it may be missed
    std::unique_lock turn(turn_);
    while (paused_ && !stop_) {
        note_waiting(10 * kLook);
        resumed_.wait_for(turn, kLook);
    }
    note_working();
    return turn;
}

// They stay in the queue until all is there: it keeps the latest state of each object, however long that takes.
std::vector<api::Change> Agent::wait_for_first_list() {
    constexpr std::chrono::seconds kLook{1};
    while (!stop_) {
        note_waiting(kLook);
        if (queue_.wait_synced(kLook)) return queue_.take(std::chrono::milliseconds(0)).changes;
    }
    return {};
}

Result<void> Agent::run_once() {
    health_check_ports_.stay_closed();
    RETURN_IF_ERROR(source_.start(queue_));
    const auto changes = wait_for_first_list();
    if (stop_) return fail("stopped before the first sync");
    static_cast<void>(sync(changes));
    wait_for_calls();
    if (stop_) return fail("stopped before the first sync was done");
    for (const auto& proxier : proxiers_) proxier->finish();
    for (const auto& proxier : proxiers_)
        if (const auto& failure = proxier->failure()) return failure->within(net::family_name(proxier->family()));
    for (const auto& proxier : proxiers_)
        if (proxier->set_aside() > 0)
            return fail("{}: {} objects were refused; all else is programmed", net::family_name(proxier->family()),
                        proxier->set_aside());
    return {};
}

// Until each family has had its first sync. What changes meanwhile is not for who ends then.
void Agent::wait_for_calls() {
    constexpr std::chrono::seconds kLook{1};
    while (!stop_) {
        for (const auto& proxier : proxiers_) proxier->take_answer(Clock::now());
        if (all_tried()) return;
        note_waiting(kLook);
        static_cast<void>(queue_.take(kLook));
    }
}

bool Agent::all_tried() const {
    return std::all_of(proxiers_.begin(), proxiers_.end(), [](const auto& proxier) { return proxier->tried(); });
}

Result<void> Agent::run() {
    RETURN_IF_ERROR(source_.start(queue_));
    std::vector<api::Change> changes = wait_for_first_list();
    if (config_.on_first_list && !stop_) {
        note_waiting(std::chrono::minutes(2));  // for another process
        config_.on_first_list();
    }
    {
        const auto turn = begin_turn();
        if (stop_) return {};
        start_watching();
        sync(changes);
        follow_writes();
    }
    while (!stop_) {
        const auto most = until_due();
        note_waiting(most);
        changes = queue_.take(most).changes;
        auto turn = begin_turn();
        if (stop_) return {};
        read_inbox();
        follow_writes();
        const bool syncs = !changes.empty() || addresses_changed_;
        if (syncs) sync(changes);
        tick();
        turn.unlock();
        pace(syncs);
    }
    return {};
}

// What comes while this waits is one change when it is over: the queue keeps the latest state of each object. Where
// calls run programs nothing waits here, for their answers must be heard; the proxiers hold what they have instead.
void Agent::pace(bool synced) {
    constexpr std::chrono::milliseconds kLongest{1000};
    constexpr int kBurst = 10;  // transactions that need not wait for their turn after a quiet time
    if (!following_writes_) return;
    const auto now = Clock::now();
    const auto committed = transactions();
    paid_until_ = std::max(paid_until_, now - kBurst * config_.time_per_commit) +
                  config_.time_per_commit * static_cast<int>(committed - paced_);
    paced_ = committed;
    auto left = std::min<Clock::duration>(paid_until_ - now, kLongest);
    if (config_.mode->calls != dataplane::Calls::kQuick) {
        for (const auto& proxier : proxiers_) proxier->hold(now + left);
        return;
    }
    if (synced) left = std::max<Clock::duration>(left, config_.min_sync_period);
    if (left.count() <= 0) return;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec pause{seconds.count(), (left - seconds).count()};
    note_waiting(std::chrono::ceil<std::chrono::milliseconds>(left));
    pollfd stop{stop_event_.get(), POLLIN, 0};
    ::ppoll(&stop, 1, &pause, nullptr);
}

std::uint32_t Agent::transactions() const {
    std::uint32_t sum = 0;
    for (const auto& proxier : proxiers_) sum += proxier->transactions();
    return sum;
}

// Watching starts before the first look at what the kernel holds, so that nothing is missed in between; but a start
// writes much, of which the kernel would tell us element by element.
void Agent::start_watching() {
    address_thread_ = std::thread([this] { watch_addresses(); });
    neighbours_at_ = Clock::now();
    if (config_.mode->watch == nullptr) return;
    std::vector<dataplane::Dataplane*> dataplanes;
    for (const auto& proxier : proxiers_)
        if (auto* writer = proxier->dataplane().writer()) dataplanes.push_back(writer);
    if (dataplanes.empty()) {  // nothing is written that somebody could change; what could not be had is tried again
        for (const auto& proxier : proxiers_) proxier->blind(Clock::now());
        return;
    }
    auto watch = config_.mode->watch(dataplanes);
    auto paused = watch ? (*watch)->pause() : Result<void>();
    if (watch && paused) {
        drift_watch_ = std::move(*watch);
        return;
    }
    post([&](Inbox& inbox) { inbox.blind = watch ? paused.error() : watch.error(); });
}

// Once, when each family has had its first sync. Its transactions are not paced.
void Agent::follow_writes() {
    if (following_writes_ || !all_tried()) return;
    following_writes_ = true;
    paced_ = transactions();
    if (!drift_watch_) return;
    const auto alone = drift_watch_->resume(transactions());
    if (!alone) {
        post([&](Inbox& inbox) { inbox.blind = alone.error(); });
        return;
    }
    const auto now = Clock::now();
    for (const auto& proxier : proxiers_) {
        if (drift_watch_->tells_all()) proxier->sighted(now);
        if (!*alone) proxier->check_soon(now);
    }
    drift_thread_ = std::thread([this] { watch_drift(); });
}

// A failure was logged, and is tried again.
void Agent::sync(const std::vector<api::Change>& changes) {
    const bool host_changed = addresses_changed_.exchange(false);
    std::optional<plan::HostFacts> host;
    if (host_changed) {
        auto known = host_facts(config_.mode->profile());
        if (known) {
            host = std::move(*known);
        } else {  // what was known stays, until it can be asked again
            log::warning("{}; this node's addresses stay as they were known", known.error().message);
            addresses_changed_ = true;
        }
    }
    follow_node(changes);
    if (stop_) return;  // the configuration cannot be meant for this node: nothing is written
    for (auto& proxier : proxiers_) static_cast<void>(proxier->sync(changes, host ? &*host : nullptr, Clock::now()));
    tell_if_synced();
}

void Agent::tell_if_synced() {
    if (std::all_of(proxiers_.begin(), proxiers_.end(), [](const auto& proxier) { return proxier->started(); }))
        note_synced();
}

void Agent::follow_node(const std::vector<api::Change>& changes) {
    for (const auto& change : changes) {
        if (change.key.kind != api::Kind::kNode || change.key.name != config_.node.node_name) continue;
        if (!change.object) {
            health_.set_node(NodeState::kUnknown);
            continue;
        }
        const auto& node = *std::get<std::shared_ptr<const api::Node>>(*change.object);
        health_.set_node(node_state(node));
        if (config_.on_node) config_.on_node(node);
    }
}

void Agent::note_synced() {
    health_.synced();
    if (!std::exchange(synced_once_, true) && config_.on_first_sync) config_.on_first_sync(variant_);
}

void Agent::note_waiting(std::chrono::milliseconds time) {
    if (config_.heartbeat != nullptr) config_.heartbeat->waiting(time);
}

void Agent::note_working() {
    if (config_.heartbeat != nullptr) config_.heartbeat->working();
}

void Agent::read_inbox() {
    Inbox inbox;
    {
        const std::lock_guard lock(mutex_);
        inbox = std::exchange(inbox_, {});
    }
    const auto now = Clock::now();
    if (inbox.blind)
        log::warning("{}; foreign writes are only found by looking, every {} s", inbox.blind->message,
                     std::chrono::duration_cast<std::chrono::seconds>(config_.proxier.blind_check_interval).count());
    for (auto& proxier : proxiers_) {
        proxier->take_answer(now);
        const auto mine = [&](net::Family family) { return family == proxier->family(); };
        if (inbox.blind) proxier->blind(now);
        for (auto& write : inbox.writes)
            if (mine(write.family)) proxier->wrote(std::move(write), now);
        for (auto& [family, sight] : inbox.sights)
            if (mine(family)) proxier->take_sight(std::move(sight), now);
        for (auto& [family, error] : inbox.failures)
            if (mine(family)) proxier->slow_work_failed(error, now);
    }
    for (auto& warning : inbox.neighbours) {
        if (std::find(neighbours_told_.begin(), neighbours_told_.end(), warning) != neighbours_told_.end()) continue;
        log::warning("{}", warning);
        neighbours_told_.push_back(std::move(warning));
    }
}

void Agent::tick() {
    const auto now = Clock::now();
    for (auto& proxier : proxiers_) proxier->tick(now);
    health_check_ports_.tick(now);
    tell_if_synced();
    if (now < neighbours_at_) return;
    neighbours_at_ = now + kNeighboursInterval;
    background_.run([this] { look_at_neighbours(); });
}

std::chrono::milliseconds Agent::until_due() const {
    constexpr std::chrono::milliseconds kLongest{60000};
    auto due = std::min(neighbours_at_, health_check_ports_.due());
    for (const auto& proxier : proxiers_) due = std::min(due, proxier->due());
    const auto now = Clock::now();
    if (due <= now) return std::chrono::milliseconds(0);
    if (due - now > kLongest) return kLongest;
    return std::chrono::ceil<std::chrono::milliseconds>(due - now);
}

// From any thread: something for the loop.
template <typename Put>
void Agent::post(Put put) {
    {
        const std::lock_guard lock(mutex_);
        put(inbox_);
    }
    queue_.wake();
}

void Agent::watch_addresses() {
    auto watch = kernel::route::AddressWatch::open(std::string(config_.mode->profile().service_device));
    if (!watch) {
        log::warning("{}; changes of this node's addresses are not followed", watch.error().message);
        return;
    }
    // What changed since they were first asked for, before anybody watched, is told by nobody.
    do {
        addresses_changed_ = true;
        queue_.wake();
    } while (watch->wait(stop_event_.get()));
}

void Agent::watch_drift() {
    while (!stop_) {
        auto writes = drift_watch_->wait(stop_event_.get());
        if (!writes) {
            post([&](Inbox& inbox) { inbox.blind = writes.error(); });
            return;
        }
        if (writes->empty()) continue;
        post([&](Inbox& inbox) { std::move(writes->begin(), writes->end(), std::back_inserter(inbox.writes)); });
    }
}

void Agent::look_at_neighbours() {
    const auto facts = neighbour_facts();
    if (!facts) return;  // a host that does not tell cannot be warned
    std::vector<net::Family> served;
    for (const auto& proxier : proxiers_) served.push_back(proxier->family());
    auto warnings = neighbour_warnings(*facts, served);
    if (warnings.empty()) return;
    post([&](Inbox& inbox) { inbox.neighbours = std::move(warnings); });
}

}  // namespace ghostip::agent

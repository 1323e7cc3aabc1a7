#include "dataplane/carrier.h"

#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>

#include <fmt/format.h>

namespace ghostip::dataplane {
namespace {

bool may_set(std::uint32_t mark) {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return socket && ::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
}

// Each connection takes two, and those that a shell gives are 1,024. What cannot be had is the relay's to live with.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

std::string ListenRequest::text() const {
    return fmt::format("{}{}{}={}", service.text(), port.empty() ? "" : ":", port, at.text());
}

std::string CarriedPool::text() const {
    return fmt::format("{} {} {} {}", net::family_name(family), net::protocol_name(service_port.protocol),
                       service_port.text(), scope == plan::PoolScope::kCluster ? "cluster" : "local");
}

std::uint32_t relay_mark_beside(std::uint8_t masquerade_bit) {
    const auto usual = RelayOptions().mark;
    return usual == std::uint32_t{1} << masquerade_bit ? usual << 1U : usual;
}

Result<std::shared_ptr<Carrier>> Carrier::start(const RelayOptions& options, Inheritance inheritance,
                                                std::shared_ptr<ListenerKeeper> keeper, Predecessor predecessor) {
    raise_descriptor_limit();
    relay::Options relay_options;
    relay_options.threads = options.threads;
    relay_options.limits = options.limits;
    relay_options.timeouts = options.timeouts;
    relay_options.drain = options.drain;
    relay_options.mark = may_set(options.mark) ? options.mark : 0;
    ASSIGN_OR_RETURN(auto relay, relay::Relay::start(relay_options));
    return std::shared_ptr<Carrier>(
        new Carrier(std::move(relay), relay_options.mark, std::move(inheritance), std::move(keeper), predecessor));
}

relay::ServiceId Carrier::add(CarriedPool whose, relay::Pool pool) {
    const auto service = relay_->add_service(std::move(pool));
    const std::lock_guard lock(mutex_);
    services_.emplace(service, std::move(whose));
    return service;
}

void Carrier::remove(relay::ServiceId service) {
    {
        const std::lock_guard lock(mutex_);
        services_.erase(service);
    }
    relay_->remove_service(service);
}

std::vector<Fd> Carrier::inherited(const std::string& name) {
    const std::lock_guard lock(mutex_);
    auto node = inheritance_.extract(name);
    return node.empty() ? std::vector<Fd>() : std::move(node.mapped());
}

Result<relay::ListenerId> Carrier::adopt(relay::ListenerSpec spec, std::vector<Fd> sockets) {
    const std::lock_guard lock(mutex_);
    if (predecessor_ == Predecessor::kServes) spec.begin = relay::Begin::kHeld;
    const bool held = spec.begin == relay::Begin::kHeld;
    ASSIGN_OR_RETURN(const auto listener, relay_->adopt(std::move(spec), std::move(sockets)));
    if (held) held_.insert(listener);
    return listener;
}

// Its own port first: where another process of ours may have it still, by an address that includes this one or is
// included (node ports on all addresses that are now to be on some), or is about to leave it, it is shared with that.
Result<relay::ListenerId> Carrier::listen_anew(relay::ListenerSpec spec) {
    auto listener = relay_->listen(spec);
    if (listener || listener.error().code != EADDRINUSE || !shares_ports()) return listener;
    spec.port = relay::PortUse::kShared;
    return relay_->listen(std::move(spec));
}

bool Carrier::shares_ports() const {
    const std::lock_guard lock(mutex_);
    return another_ || keeper_ || predecessor_ == Predecessor::kServes || !inheritance_.empty();
}

Result<relay::ListenerId> Carrier::listen(std::string name, relay::ListenerSpec spec) {
    const auto protocol = spec.protocol;
    if (spec.service == relay::ServiceId{}) spec.service = nobody_;
    Result<relay::ListenerId> listener = fail("nothing inherited");
    if (auto sockets = inherited(name); !sockets.empty()) listener = adopt(spec, std::move(sockets));
    if (!listener) listener = listen_anew(std::move(spec));
    if (!listener) return listener.error();
    if (keeper_)
        if (const auto sockets = relay_->duplicate(*listener)) keeper_->keep(name, *sockets);
    const std::lock_guard lock(mutex_);
    listeners_.emplace(*listener, Named{std::move(name), protocol});
    return *listener;
}

void Carrier::close(relay::ListenerId listener) {
    {
        const std::lock_guard lock(mutex_);
        held_.erase(listener);
        if (const auto node = listeners_.extract(listener); keeper_ && !leaving_ && !node.empty())
            keeper_->forget(node.mapped().name);
    }
    relay_->close(listener);
}

void Carrier::forget_inheritance() {
    const std::lock_guard lock(mutex_);
    if (keeper_)
        for (const auto& [name, sockets] : inheritance_) keeper_->forget(name);
    inheritance_.clear();
}

std::vector<Carrier::NamedListener> Carrier::duplicates() const {
    const std::lock_guard lock(mutex_);
    std::vector<NamedListener> all;
    all.reserve(listeners_.size());
    for (const auto& [listener, named] : listeners_)
        if (auto sockets = relay_->duplicate(listener))
            all.push_back({named.name, named.protocol, std::move(*sockets)});
    return all;
}

std::vector<std::string> Carrier::held() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto listener : held_)
        if (const auto named = listeners_.find(listener); named != listeners_.end())
            names.push_back(named->second.name);
    return names;
}

relay::Clients Carrier::let_go(const std::vector<std::string>& names) {
    const std::lock_guard lock(mutex_);
    const std::set<std::string> leaving(names.begin(), names.end());
    std::vector<relay::ListenerId> listeners;
    for (const auto& [listener, named] : listeners_)
        if (leaving.contains(named.name)) listeners.push_back(listener);
    relay::Clients clients;
    for (auto& client : relay_->hold(listeners))
        clients.sessions.push_back({{listeners_.at(client.listener).name, client.flow}, std::move(client.socket)});
    held_.insert(listeners.begin(), listeners.end());
    // After that, for until then some are picked.
    for (const auto& [service, whose] : services_) {
        if (clients.affinities.size() > relay::Clients::kMostAffinities) break;  // nobody serves meanwhile
        const auto affinities = relay_->affinities(service);
        if (!affinities || affinities->empty()) continue;
        const auto name = whose.text();
        for (const auto& each : *affinities) clients.affinities.push_back({name, each});
    }
    return clients;
}

Result<Carrier::Resumed> Carrier::resume(relay::Clients clients) {
    const std::lock_guard lock(mutex_);
    predecessor_ = Predecessor::kGone;
    std::unordered_map<std::string, std::vector<relay::Affinity>> by_service;
    for (const auto& named : clients.affinities) by_service[named.service].push_back(named.affinity);
    Resumed resumed;
    if (!by_service.empty())
        for (const auto& [service, whose] : services_)
            if (const auto known = by_service.find(whose.text()); known != by_service.end())
                if (const auto remembered = relay_->remember(service, known->second)) resumed.affinities += *remembered;
    std::map<std::string_view, relay::ListenerId> listeners;
    for (const auto listener : held_)
        if (const auto named = listeners_.find(listener); named != listeners_.end())
            listeners.emplace(named->second.name, listener);
    std::vector<relay::UdpClient> sessions;
    for (auto& session : clients.sessions)
        if (const auto listener = listeners.find(session.of.listener); listener != listeners.end())
            sessions.push_back({listener->second, session.of.flow, std::move(session.socket)});
    const std::vector<relay::ListenerId> held(held_.begin(), held_.end());
    held_.clear();
    ASSIGN_OR_RETURN(resumed.sessions, relay_->resume(held, std::move(sessions)));
    return resumed;
}

std::vector<std::pair<CarriedPool, relay::ServiceMetrics>> Carrier::metrics() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::pair<CarriedPool, relay::ServiceMetrics>> all;
    all.reserve(services_.size());
    for (const auto& [service, whose] : services_)
        if (auto counted = relay_->metrics(service)) all.emplace_back(whose, *counted);
    return all;
}

}  // namespace ghostip::dataplane

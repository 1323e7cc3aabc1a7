#include "agent/health_check_ports.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "agent/json_text.h"
#include "base/log.h"
#include "base/net_socket.h"

namespace ghostip::agent {
namespace {

constexpr std::chrono::seconds kPause{1};  // between tries, however often there is a sync

// Link-local addresses of IPv6 mean nothing without an interface, so nobody can listen on one alone.
bool can_be_listened_on(const net::IpAddress& address) { return address.is_ipv4() || !address.is_link_local(); }

std::vector<net::IpAddress> listening_addresses(net::Family family, const plan::NodePortAddresses& node_ports) {
    if (node_ports.all) return {net::IpAddress(family)};
    std::vector<net::IpAddress> addresses = node_ports.addresses;
    std::erase_if(addresses, [](const auto& address) { return !can_be_listened_on(address); });
    return addresses;
}

}  // namespace

HealthCheckPorts::HealthCheckPorts(const Health& health, OnListenFailed on_listen_failed)
    : health_(health), on_listen_failed_(std::move(on_listen_failed)) {}

HealthCheckPorts::~HealthCheckPorts() = default;

void HealthCheckPorts::take(net::Family family, const plan::Delta& delta) {
    for (const auto& change : delta.health_checks) {
        const Key key{family, change.service};
        wanted_[key].check = change.after;
        changed_.insert(key);
    }
    if (!delta.node_rules) return;
    const auto& addresses = delta.node_rules->after.node_ports;
    if (addresses_[family] == addresses) return;
    addresses_[family] = addresses;
    for (auto& [key, wanted] : wanted_) {
        if (key.first != family) continue;
        close(wanted);  // to be opened at the new addresses
        changed_.insert(key);
    }
}

void HealthCheckPorts::suspend() {
    stay_closed_ = true;
    for (auto& [key, wanted] : wanted_) {
        close(wanted);
        changed_.insert(key);
    }
}

void HealthCheckPorts::resume(Time now) {
    stay_closed_ = false;
    for (const auto family : net::kFamilies) settle(family, now);
}

void HealthCheckPorts::settle(net::Family family, Time now) {
    if (stay_closed_) return;
    if (now >= retry_allowed_at_) changed_.insert(failed_.begin(), failed_.end());
    std::vector<Key> keys;
    std::erase_if(changed_, [&](const Key& key) {
        if (key.first == family) keys.push_back(key);
        return key.first == family;
    });
    // Ports become free before others want them.
    for (const auto& key : keys) {
        auto& wanted = wanted_.at(key);
        if (!wanted.check || wanted.check->node_port != wanted.listens_on) close(wanted);
    }
    for (const auto& key : keys) settle(key, now);
}

void HealthCheckPorts::settle(const Key& key, Time now) {
    auto& wanted = wanted_.at(key);
    failed_.erase(key);
    if (!wanted.check) {
        wanted_.erase(key);
        return;
    }
    if (wanted.tag != 0) {
        const std::lock_guard lock(mutex_);
        answering_[wanted.tag].local_endpoints = wanted.check->local_ready_endpoints;
        return;
    }
    const auto listening = listen(key, wanted);
    if (listening) {
        wanted.failure.clear();
        return;
    }
    close(wanted);  // all of its addresses or none
    failed_.insert(key);
    retry_allowed_at_ = now + kPause;
    retry_at_ = std::min(retry_at_, now + kRetry);
    if (wanted.failure != listening.error().message)
        log::error("{}: health-check node port {} of {}: {}; tried again with the next change or in {} s",
                   net::family_name(key.first), wanted.check->node_port, key.second.text(), listening.error().message,
                   kRetry.count());
    wanted.failure = listening.error().message;
    if (on_listen_failed_) on_listen_failed_(key.second, wanted.check->node_port, listening.error());
}

void HealthCheckPorts::close(Wanted& wanted) {
    if (wanted.tag == 0) return;
    server_->close(wanted.tag);
    const std::lock_guard lock(mutex_);
    answering_.erase(std::exchange(wanted.tag, 0));
}

Result<void> HealthCheckPorts::listen(const Key& key, Wanted& wanted) {
    const auto& [family, service] = key;
    if (!server_) {
        ASSIGN_OR_RETURN(server_, http::Server::start([this](const auto& request) { return answer(request); }));
    }
    wanted.tag = ++last_tag_;
    wanted.listens_on = wanted.check->node_port;
    {
        const std::lock_guard lock(mutex_);
        answering_[wanted.tag] = {service, wanted.check->local_ready_endpoints};
    }
    for (const auto& address : listening_addresses(family, addresses_[family])) {
        ASSIGN_OR_RETURN(auto listener, listen_tcp(address.text(), wanted.listens_on, Accepts::kOwnFamily));
        RETURN_IF_ERROR(server_->open(std::move(listener), wanted.tag));
    }
    return {};
}

HealthCheckPorts::Time HealthCheckPorts::due() const { return failed_.empty() ? Time::max() : retry_at_; }

void HealthCheckPorts::tick(Time now) {
    if (now < due() || stay_closed_) return;
    retry_at_ = Time::max();
    // What was taken and is not in the kernel yet waits for that.
    for (const auto& key : std::set<Key>(failed_))
        if (!changed_.contains(key)) settle(key, now);
}

std::size_t HealthCheckPorts::open(net::Family family) const {
    return static_cast<std::size_t>(std::count_if(wanted_.begin(), wanted_.end(), [&](const auto& entry) {
        return entry.first.first == family && entry.second.tag != 0;
    }));
}

http::Response HealthCheckPorts::answer(const http::Request& request) const {
    Answering answering;
    {
        const std::lock_guard lock(mutex_);
        const auto found = answering_.find(request.tag);
        if (found == answering_.end()) return {};  // it is being closed
        answering = found->second;
    }
    const bool healthy = health_.healthy();
    return {answering.local_endpoints != 0 && healthy ? 200U : 503U,
            fmt::format("{{\n\t\"service\": {{\n\t\t\"namespace\": {},\n\t\t\"name\": {}\n\t}},\n"
                        "\t\"localEndpoints\": {},\n\t\"serviceProxyHealthy\": {}\n}}",
                        json_string(answering.service.namespace_), json_string(answering.service.name),
                        answering.local_endpoints, healthy),
            {{"Content-Type", "application/json"},
             {"X-Content-Type-Options", "nosniff"},
             {"X-Load-Balancing-Endpoint-Weight", std::to_string(answering.local_endpoints)}}};
}

}  // namespace ghostip::agent

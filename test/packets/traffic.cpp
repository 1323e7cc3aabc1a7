#include "packets/traffic.h"

#include <utility>

#include <fmt/format.h>

#include "support/twin.h"

namespace ghostip::packets {
namespace {

using testnet::in_family;
using testnet::Outcome;
using testnet::Place;
using testnet::Probe;
using testnet::Seen;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Less than the second after which TCP would send a lost packet again and hide it.
constexpr milliseconds kQuiet(800);
// A message that stays away so long is lost; TCP has sent it again several times by then.
constexpr milliseconds kPatience(5000);
constexpr std::size_t kFailuresKept = 20;
constexpr int kLastingOfEach = 2;
constexpr int kStickyClients = 10;

}  // namespace

std::vector<Target> targets_of(const LiveNode& live, const std::vector<ServiceSpec>& services) {
    std::vector<Target> targets;
    for (const auto& one : services) {
        std::set<net::IpAddress> pool;
        for (const auto& endpoint : one.endpoints) pool.insert(live.address(endpoint));
        const auto add = [&](Place from, std::string_view to, int port, int echo_port) {
            targets.push_back({from, live.address(to), static_cast<std::uint16_t>(port),
                               static_cast<std::uint16_t>(echo_port), pool, one.sticky});
        };
        for (const auto from : {Place::kPods, Place::kOutside, Place::kNode})
            add(from, one.cluster_ip, kProbePort, kEchoPort);
        if (!one.external_ip.empty()) add(Place::kOutside, one.external_ip, kProbePort, kEchoPort);
        if (one.node_port != 0) add(Place::kOutside, kOwnAddress, one.node_port, one.node_port + kEchoNodePort);
    }
    return targets;
}

net::IpAddress Sources::next(Place from) {
    constexpr std::uint32_t kHosts = 250;
    ++count_;
    const auto low = 1 + count_ % kHosts;
    switch (from) {
        case Place::kNode: return in_family(family_, kOwnAddress);
        case Place::kOutside: return in_family(family_, fmt::format("203.0.113.{}", low));
        case Place::kPods:
        case Place::kRemote: break;
    }
    return in_family(family_, fmt::format("10.0.{}.{}", count_ / kHosts % kHosts, low));
}

std::string Traffic::Report::text() const {
    return fmt::format("{} new connections, {} messages on {} that stayed (slowest answer {} ms), {} failures",
                       connections, echoes, lasting, slowest.count(), failures.size());
}

Traffic::Traffic(const LiveNode& live, std::vector<Target> targets) : live_(live), targets_(std::move(targets)) {}

Result<std::unique_ptr<Traffic>> Traffic::start(const LiveNode& live, std::vector<Target> targets,
                                                const std::vector<net::Protocol>& lasting) {
    auto traffic = std::unique_ptr<Traffic>(new Traffic(live, std::move(targets)));
    RETURN_IF_ERROR(traffic->open(lasting));
    traffic->connecting_ = std::thread([raw = traffic.get()] { raw->connect_all(); });
    traffic->asking_ = std::thread([raw = traffic.get()] { raw->ask_all(); });
    return traffic;
}

Result<void> Traffic::open(const std::vector<net::Protocol>& lasting) {
    ASSIGN_OR_RETURN(engine_, testnet::ProbeEngine::create(live_.topology()));
    std::set<std::uint16_t> ports{kProbeTarget};
    for (const auto& target : targets_) ports.insert(target.port);  // so that one that is not translated is answered
    RETURN_IF_ERROR(engine_->listen(ports));
    for (const auto place : {Place::kPods, Place::kRemote}) {
        ASSIGN_OR_RETURN(auto server, EchoServer::start(live_.topology().at(place), live_.family(), kEchoTarget));
        servers_.push_back(std::move(server));
    }
    Sources sources(live_.family());
    for (const auto& target : targets_)
        for (const auto protocol : lasting)
            for (int i = 0; i < kLastingOfEach; ++i) {
                const auto source = sources.next(target.from);
                ASSIGN_OR_RETURN(auto client, EchoClient::open(live_.topology().at(target.from), protocol, source,
                                                               target.destination, target.echo_port));
                const Probe probe{target.from, source, target.destination, protocol, target.echo_port};
                const auto endpoint = client.ask(kPatience);
                if (!endpoint) return endpoint.error().within(probe.text());
                lasting_.push_back({std::move(client), probe.text(), *endpoint});
            }
    return {};
}

Traffic::~Traffic() { (void)end(); }

Traffic::Report Traffic::end() {
    stop_ = true;
    if (connecting_.joinable()) connecting_.join();
    if (asking_.joinable()) asking_.join();
    const std::lock_guard lock(mutex_);
    return {connections_, echoes_, lasting_.size(), slowest_, failures_, moved_};
}

void Traffic::failed(std::string text) {
    const std::lock_guard lock(mutex_);
    if (failures_.size() < kFailuresKept) failures_.push_back(std::move(text));
}

void Traffic::connect_all() {
    Sources sources(live_.family());
    for (int round = 0; !stop_; ++round) {
        std::vector<Probe> probes;
        std::vector<const Target*> of;
        for (const auto& target : targets_)
            for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
                // Who shall stick must come back.
                auto source = sources.next(target.from);
                if (target.sticky && target.from != Place::kNode)
                    source = live_.address(fmt::format("{}.{}", target.from == Place::kPods ? "10.0.255" : "203.0.113",
                                                       1 + round % kStickyClients));
                probes.push_back({target.from, source, target.destination, protocol, target.port});
                of.push_back(&target);
            }
        const auto outcomes = engine_->run(probes, kQuiet);
        if (!outcomes) return failed(outcomes.error().message);
        for (std::size_t i = 0; i < probes.size(); ++i) judge(*of[i], probes[i], (*outcomes)[i]);
        std::this_thread::sleep_for(milliseconds(1));
    }
}

void Traffic::judge(const Target& target, const Probe& probe, const Outcome& outcome) {
    if (outcome.seen != Seen::kAnswered || !target.pool.contains(outcome.endpoint) ||
        outcome.endpoint_port != kProbeTarget)
        return failed(fmt::format("{}: {}", probe.text(), outcome.text()));
    ++connections_;
    if (!target.sticky) return;
    // The node has one address: a port of it that comes again soon belongs to the UDP flow of before, and goes where
    // that one went.
    if (probe.from == Place::kNode && probe.protocol == net::Protocol::kUdp) return;
    const auto [at, first] = stuck_.try_emplace(probe.text(), outcome.endpoint);
    if (first || at->second == outcome.endpoint) return;
    at->second = outcome.endpoint;
    const std::lock_guard lock(mutex_);
    ++moved_[probe.text()];
}

void Traffic::ask_all() {
    std::vector<bool> broken(lasting_.size(), false);
    while (!stop_) {
        for (std::size_t i = 0; i < lasting_.size(); ++i) {
            if (broken[i]) continue;
            auto& one = lasting_[i];
            const auto begin = Clock::now();
            const auto endpoint = one.client.ask(kPatience);
            slowest_ = std::max(slowest_, std::chrono::duration_cast<milliseconds>(Clock::now() - begin));
            if (endpoint && *endpoint == one.endpoint) {
                ++echoes_;
                continue;
            }
            broken[i] = true;
            failed(fmt::format("{} (stayed with {}): {}", one.text, one.endpoint.text(),
                               endpoint ? "answered by " + endpoint->text() : endpoint.error().message));
        }
        std::this_thread::sleep_for(milliseconds(2));
    }
}

}  // namespace ghostip::packets

#include "neighbours/host.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>

#include <fmt/format.h>

#include "support/conntrack.h"
#include "support/twin.h"
#include "support/wire.h"

namespace ghostip::neighbours {
namespace {

using testnet::Outcome;
using testnet::Place;
using testnet::Probe;
using testnet::Seen;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience(10);

std::string binary() {
    const char* other = std::getenv("GHOSTIP_BINARY");
    return other == nullptr ? GHOSTIP_BINARY : other;
}

std::string_view client_at(Place place) {
    switch (place) {
        case Place::kNode: return "192.168.0.2";
        case Place::kPods: return "10.0.1.10";
        case Place::kRemote: return "10.181.7.7";
        case Place::kOutside: return "203.0.113.10";
    }
    return "";
}

std::string service_text(const ServiceText& one) {
    const bool balancer = !one.source_range.empty();
    std::string text = fmt::format(R"(apiVersion: v1
kind: Service
metadata: {{name: {}, namespace: test}}
spec:
  type: {}
  clusterIP: "{}"
  ipFamilies: [IPv4]
)",
                                   one.name,
                                   balancer             ? "LoadBalancer"
                                   : one.node_port != 0 ? "NodePort"
                                                        : "ClusterIP",
                                   one.cluster_ip);
    if (!one.external_ip.empty() && !balancer) text += fmt::format("  externalIPs: [\"{}\"]\n", one.external_ip);
    if (balancer) text += fmt::format("  loadBalancerSourceRanges: [\"{}\"]\n", one.source_range);
    text += "  ports:\n";
    for (const auto* protocol : {"TCP", "UDP"})
        text += fmt::format("  - {{name: over-{}, protocol: {}, port: {}{}}}\n",
                            protocol == std::string_view("TCP") ? "tcp" : "udp", protocol, one.port,
                            one.node_port == 0 ? "" : fmt::format(", nodePort: {}", one.node_port));
    if (balancer) text += fmt::format("status:\n  loadBalancer:\n    ingress:\n    - ip: \"{}\"\n", one.external_ip);
    text += fmt::format(R"(---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {0}-1, namespace: test, labels: {{kubernetes.io/service-name: {0}}}}}
addressType: IPv4
ports:
- {{name: over-tcp, protocol: TCP, port: {1}}}
- {{name: over-udp, protocol: UDP, port: {1}}}
endpoints:{2}
)",
                        one.name, one.target_port, one.endpoints.empty() ? " []" : "");
    for (const auto& endpoint : one.endpoints)
        text += fmt::format("- {{addresses: [\"{}\"], nodeName: {}, conditions: {{ready: true}}}}\n", endpoint,
                            endpoint.starts_with("10.181.") ? "other-node" : "test-node");
    return text;
}

}  // namespace

std::string manifest(const std::vector<ServiceText>& services) {
    std::string text = R"(apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: ["172.30.0.0/16"]}
)";
    for (const auto& one : services) text += "---\n" + service_text(one);
    return text;
}

Process::~Process() { end(SIGKILL); }

bool Process::running() {
    int status = 0;
    if (pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_) pid_ = -1;
    return pid_ > 0;
}

void Process::end(int signal) {
    if (!running()) return;
    ::kill(pid_, signal);
    const auto deadline = Clock::now() + kPatience;
    while (running() && Clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (!running()) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
}

Result<std::unique_ptr<Host>> Host::create(net::Family family) {
    auto host = std::unique_ptr<Host>(new Host(family));
    auto pattern = (std::filesystem::temp_directory_path() / "ghostip-neighbours-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return fail_errno("make a folder");
    host->folder_ = pattern;
    std::filesystem::create_directory(host->folder_ / "manifests");
    ASSIGN_OR_RETURN(host->topology_, testnet::Topology::create());
    ASSIGN_OR_RETURN(host->engine_, testnet::ProbeEngine::create(*host->topology_));
    RETURN_IF_ERROR(host->engine_->listen({53, 80, 8080}));
    return host;
}

Host::~Host() {
    proxy_.reset();
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

Result<void> Host::start_proxy(const std::vector<ServiceText>& services, const std::vector<std::string>& flags) {
    const std::string text = manifest(services);
    std::ofstream(folder_ / "next") << (family_ == net::Family::kIpv4 ? text : testnet::twin_text(text));
    std::filesystem::rename(folder_ / "next", folder_ / "manifests" / "objects.yaml");
    const std::string log = folder_ / "log";
    const Fd file{::open(log.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600)};
    const bool ipv4 = family_ == net::Family::kIpv4;
    std::vector<std::string> argv{binary(),
                                  "proxy",
                                  "--manifests",
                                  folder_ / "manifests",
                                  "--hostname-override",
                                  "test-node",
                                  "--bind-address",
                                  address("192.168.0.2").text(),
                                  "--cluster-cidr",
                                  ipv4 ? "10.0.0.0/8" : "fd00:10::/64",
                                  "--healthz-bind-address",
                                  ipv4 ? "127.0.0.1:10256" : "[::1]:10256"};
    argv.insert(argv.end(), flags.begin(), flags.end());
    ASSIGN_OR_RETURN(const int pid, node().start(argv, file.get()));
    proxy_ = std::make_unique<Process>(pid);
    const auto deadline = Clock::now() + kPatience;
    while (!healthy()) {
        if (!proxy_->running() || Clock::now() > deadline)
            return fail("ghostip proxy {}:\n{}", proxy_->running() ? "is not healthy after 10 s" : "ended",
                        proxy_log());
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return {};
}

bool Host::healthy() const {
    const bool ipv4 = family_ == net::Family::kIpv4;
    const auto inside = node().enter();
    const Fd fd{::socket(ipv4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const testnet::SocketAddress at(*net::IpAddress::parse(ipv4 ? "127.0.0.1" : "::1"), 10256);
    if (::connect(fd.get(), at.raw(), at.length) != 0) return false;
    const std::string request = "GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
    (void)!::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    std::array<char, 64> answer{};
    return ::recv(fd.get(), answer.data(), answer.size() - 1, 0) > 0 &&
           std::string_view(answer.data()).find(" 200 ") < 12;
}

void Host::kill_proxy() { proxy_.reset(); }

std::string Host::proxy_log() const {
    std::ifstream file(folder_ / "log");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool Host::proxy_says(std::string_view text) const {
    const auto deadline = Clock::now() + kPatience;
    while (proxy_log().find(text) == std::string::npos) {
        if (Clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
}

Result<void> Host::load(const std::string& tool, std::string_view rules) const {
    if (tool == "nft") {
        const auto done = node().must_run({"nft", "-f", "-"}, rules);
        if (!done) return done.error();
        return {};
    }
    const bool ipv4 = family_ == net::Family::kIpv4;
    const std::string program = (ipv4 ? "ip" : "ip6") + tool.substr(2) + "-restore";
    const auto done = node().must_run({program, "--noflush"}, ipv4 ? std::string(rules) : testnet::twin_text(rules));
    if (!done) return done.error();
    return {};
}

Result<void> Host::iptables(const std::string& tool, std::vector<std::string> arguments) const {
    const bool ipv4 = family_ == net::Family::kIpv4;
    arguments.insert(arguments.begin(), (ipv4 ? "ip" : "ip6") + tool.substr(2));
    const auto done = node().must_run(arguments);
    if (!done) return done.error();
    return {};
}

net::IpAddress Host::address(std::string_view ipv4) const { return testnet::in_family(family_, ipv4); }

Probe Host::probe(Place from, std::string_view to, int port, net::Protocol protocol) const {
    return {from, address(client_at(from)), address(to), protocol, static_cast<std::uint16_t>(port)};
}

Outcome Host::ask(const Probe& probe, std::chrono::milliseconds quiet) {
    Outcome failed;
    failed.seen = Seen::kError;
    if (const auto flushed = testnet::flush_conntrack(node()); !flushed) {
        failed.detail = flushed.error().message;
        return failed;
    }
    const auto outcomes = engine_->run({probe}, quiet);
    if (outcomes) return outcomes->front();
    failed.detail = outcomes.error().message;
    return failed;
}

Outcome Host::ask(Place from, std::string_view to, int port, net::Protocol protocol, std::chrono::milliseconds quiet) {
    return ask(probe(from, to, port, protocol), quiet);
}

std::string told(Host& host, const Probe& probe, const Outcome& outcome) {
    if (outcome.seen != Seen::kAnswered) return outcome.arrived ? outcome.text() : std::string(seen_name(outcome.seen));
    if (outcome.untranslated(probe)) return "untranslated";
    const auto rewritten = host.topology().link_address(outcome.place, probe.source.family());
    return fmt::format("{} {}", net::host_port(outcome.endpoint, outcome.endpoint_port),
                       outcome.source == probe.source ? "kept"
                       : outcome.source == rewritten  ? "masqueraded"
                                                      : "from " + outcome.source.text());
}

std::string experience(Host& host, Place from, std::string_view to, int port, net::Protocol protocol) {
    const auto probe = host.probe(from, to, port, protocol);
    return told(host, probe, host.ask(probe));
}

}  // namespace ghostip::neighbours

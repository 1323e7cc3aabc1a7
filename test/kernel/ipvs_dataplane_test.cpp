// The IPVS dataplane on a kernel that has IPVS: it writes what the twins in memory would hold, reads it back as its
// own, moves packets as the plan says, waits for connections, and leaves nothing behind. Runs inside user-mode Linux
// (test/uml), each test in network namespaces of its own.
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <random>
#include <stdexcept>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/cleanup.h"
#include "dataplane/ipvs/dataplane_testing.h"
#include "dataplane/ipvs/sighting.h"
#include "dataplane/ipvs/supported.h"
#include "kernel/ipset/linux.h"
#include "kernel/iptables/linux.h"
#include "kernel/ipvs/linux.h"
#include "kernel/link/linux.h"
#include "plan/world_testing.h"
#include "support/probe.h"
#include "support/topology.h"
#include "support/twin.h"

namespace ghostip::dataplane::ipvs {
namespace {

using namespace testing;
using namespace plan::testing;
using kernel::iptables::Variant;
using net::Family;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAreArray;
using testnet::in_family;
using testnet::Namespace;
using testnet::Probe;
using testnet::Seen;

Options options() {
    Options made;
    made.variant = "legacy";
    return made;
}

Namespace make_namespace() {
    auto space = Namespace::create();
    if (!space) throw std::runtime_error("needs root: " + space.error().message);
    return std::move(*space);
}

Kernel open_here(Family family) {
    auto opened = open_kernel(family, Variant::kLegacy);
    if (!opened) throw std::runtime_error(opened.error().message);
    return std::move(*opened);
}

// A process on the namespace that the thread is in.
struct OnKernel {
    explicit OnKernel(Family family) : dataplane({open_here(family), open_here(family)}, {}) {}
    IpvsDataplane dataplane;
};

Lines servers_of(const Kernel& kernel) {
    Lines lines;
    auto states = kernel.ipvs->contents().value();
    for (auto& state : states) {
        std::sort(state.destinations.begin(), state.destinations.end());
        lines.push_back(text(Server{state.service, state.destinations}));
    }
    return lines;
}

Lines elements_of(const Kernel& kernel) {
    Lines lines;
    const auto headers = kernel.sets->headers().value();
    for (const auto& header : headers) {
        const auto contents = kernel.sets->contents(header.name).value();
        for (const auto& element : contents->elements)
            lines.push_back(header.name + " " + kernel::ipset::text(*header.type, element));
    }
    return lines;
}

Lines rules_of(const Kernel& kernel) {
    Lines lines;
    for (const char* table : tables::kAll)
        EXPECT_TRUE(kernel.iptables->save(
            table, [&](std::string_view line) { lines.push_back(fmt::format("{}: {}", table, line)); }));
    return lines;
}

Lines sorted(Lines lines) {
    std::sort(lines.begin(), lines.end());
    return lines;
}

plan::Plan random_plan(Family family, std::uint32_t seed) {
    World world(family, seed);
    plan::Planner planner(family, world.settings(), plan::ipvs_profile(), world.host());
    std::mt19937 random(seed);
    for (int i = 0; i < 60; ++i) {
        plan::testing::Command command;
        command.what = i % 3 == 0 ? plan::testing::Command::What::kService : plan::testing::Command::What::kSlice;
        command.index = static_cast<std::uint8_t>(random() % 12);
        command.seed = static_cast<std::uint32_t>(random());
        if (const auto change = world.change(command)) static_cast<void>(planner.apply({*change}));
    }
    return planner.plan();
}

class IpvsDataplaneKernel : public ::testing::TestWithParam<Family> {};
INSTANTIATE_TEST_SUITE_P(BothFamilies, IpvsDataplaneKernel, ::testing::ValuesIn(net::kFamilies),
                         [](const auto& row) { return std::string(net::family_name(row.param)); });

TEST_P(IpvsDataplaneKernel, LacksNothingAndLeavesNothingOfATrial) {
    const auto space = make_namespace();
    const auto inside = space.enter();
    EXPECT_THAT(missing(GetParam(), options()), IsEmpty());
    auto other = options();
    other.ipvs.scheduler = "none-such";
    EXPECT_THAT(missing(GetParam(), other), Contains(HasSubstr("no IPVS scheduler none-such")));
    const auto kernel = open_here(GetParam());
    EXPECT_THAT(servers_of(kernel), IsEmpty());
    EXPECT_THAT(kernel.sets->headers().value(), IsEmpty());
    EXPECT_THAT(rules_of(kernel), Not(Contains(HasSubstr("GHOSTIP"))));
    EXPECT_FALSE(kernel.links->find("ghostip-trial").value());
}

TEST_P(IpvsDataplaneKernel, HoldsWhatTheTwinsHoldAndReadsItBack) {
    const auto family = GetParam();
    const auto space = make_namespace();
    const auto inside = space.enter();
    OnKernel first(family);
    for (const std::uint32_t seed : {1U, 2U, 3U, 4U}) {
        SCOPED_TRACE(seed);
        const auto plan = random_plan(family, seed);
        const auto done = first.dataplane.reconcile(plan);
        ASSERT_TRUE(done) << done.error().message;
        Machine machine(family);
        OnMachine twin(machine);
        ASSERT_TRUE(twin.reconcile(plan));
        const auto kernel = open_here(family);
        EXPECT_EQ(sorted(servers_of(kernel)), machine.servers());
        EXPECT_EQ(sorted(elements_of(kernel)), machine.elements());

        OnKernel successor(family);
        const auto taken = successor.dataplane.reconcile(plan);
        ASSERT_TRUE(taken) << taken.error().message;
        EXPECT_EQ(taken->transactions, 0U);
        const auto again = successor.dataplane.reconcile(plan);
        ASSERT_TRUE(again) << again.error().message;
        EXPECT_EQ(again->differences, 0U) << ::testing::PrintToString(again->examples);
    }
}

TEST_P(IpvsDataplaneKernel, CleanupLeavesOthersAlone) {
    const auto family = GetParam();
    const auto space = make_namespace();
    const auto inside = space.enter();
    const bool v4 = family == Family::kIpv4;
    const std::string foreign = v4 ? "203.0.113.80:80" : "[2001:db8:f::80]:80";
    ASSERT_TRUE(space.must_run({"ipvsadm", "-A", "-t", foreign, "-s", "wlc"}));
    ASSERT_TRUE(space.must_run({"ipset", "create", "mine", "hash:ip"}));
    ASSERT_TRUE(space.must_run({v4 ? "iptables-legacy" : "ip6tables-legacy", "-A", "INPUT", "-j", "ACCEPT"}));
    const auto kernel = open_here(family);
    const auto servers = servers_of(kernel);
    OnKernel process(family);
    for (const auto one : net::kFamilies) {
        OnKernel each(one);
        ASSERT_TRUE(each.dataplane.reconcile(random_plan(one, 7)));
    }
    EXPECT_GT(servers_of(kernel).size(), servers.size());
    std::vector<std::string> kept;
    const auto cleaned = cleanup(kept);
    ASSERT_TRUE(cleaned) << cleaned.error().message;
    EXPECT_EQ(servers_of(kernel), servers);
    EXPECT_EQ(kernel.sets->headers().value().size(), 1U);
    EXPECT_FALSE(kernel.links->find(kDevice).value());
    EXPECT_THAT(rules_of(kernel), Not(Contains(HasSubstr("KUBE"))));
    EXPECT_THAT(rules_of(kernel), Not(Contains(HasSubstr("GHOSTIP"))));
    EXPECT_THAT(rules_of(kernel), Contains("filter: -A INPUT -j ACCEPT"));
    EXPECT_THAT(kept, IsEmpty());
    EXPECT_TRUE(cleanup(kept)) << "again is fine";
}

// --- packets ---

// Within `limit`; a condition that does not come fails the test.
template <typename Condition>
bool comes(std::chrono::seconds limit, Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
        if (std::chrono::steady_clock::now() >= deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    return true;
}

class IpvsPackets : public ::testing::TestWithParam<Family> {
  protected:
    void SetUp() override {
        auto topology = testnet::Topology::create();
        ASSERT_TRUE(topology) << topology.error().message;
        topology_ = std::move(*topology);
        auto engine = testnet::ProbeEngine::create(*topology_);
        ASSERT_TRUE(engine) << engine.error().message;
        engine_ = std::move(*engine);
        ASSERT_TRUE(engine_->listen({80, 8080, 30080}));
        const auto inside = topology_->node().enter();
        process_ = std::make_unique<OnKernel>(GetParam());
        ASSERT_TRUE(topology_->node().sysctl("net/ipv4/vs/conntrack", "1"));
        ASSERT_TRUE(topology_->node().sysctl("net/ipv4/vs/expire_nodest_conn", "1"));
        // As the agent writes it on kernels from 5.9 on, which this one is.
        ASSERT_TRUE(topology_->node().sysctl("net/ipv4/vs/conn_reuse_mode", "1"));
        auto settings = node_settings();
        planner_ = std::make_unique<plan::Planner>(GetParam(), settings, plan::ipvs_profile(),
                                                   plan::HostFacts{topology_->node_addresses()});
        auto node = node_object();
        static_cast<void>(planner_->apply({put(node)}));
        const auto done = process_->dataplane.reconcile(planner_->plan());
        ASSERT_TRUE(done) << done.error().message;
    }
    void TearDown() override {
        if (!process_) return;
        const auto inside = topology_->node().enter();
        const auto same = process_->dataplane.reconcile(planner_->plan());
        ASSERT_TRUE(same) << same.error().message;
        EXPECT_EQ(same->differences, 0U) << ::testing::PrintToString(same->examples);
    }

    [[nodiscard]] net::IpAddress at(std::string_view ipv4) const { return in_family(GetParam(), ipv4); }
    api::Service web() {
        auto object = plan::testing::service("web", at("172.30.0.1").text(), {service_port("p", 80)});
        object.type = api::ServiceType::kLoadBalancer;
        object.ports.front().node_port = 30080;
        object.load_balancer_vips = {at("1.2.3.4")};
        return object;
    }
    api::EndpointSlice ends(const std::vector<std::string_view>& local, const std::vector<std::string_view>& remote) {
        std::vector<Ep> all;
        for (const auto one : local) all.push_back({at(one).text(), "r", "test-node"});
        for (const auto one : remote) all.push_back({at(one).text(), "r", "other"});
        return slice("web", "web", {slice_port("p", 8080)}, all);
    }
    void change(const std::vector<api::Change>& changes) {
        const auto inside = topology_->node().enter();
        const auto done = process_->dataplane.apply(planner_->apply(changes));
        ASSERT_TRUE(done) << done.error().message;
        EXPECT_THAT(done->set_aside, IsEmpty());
        // The kernel takes a new IPv6 address for its own a moment later.
        const auto plan = planner_->plan();
        for (const auto& [name, service_port] : plan.service_ports)
            for (const auto& destination : service_port->destinations)
                EXPECT_TRUE(destination.key.node_port ||
                            comes(std::chrono::seconds(20), [&] { return is_local(destination.key.address); }))
                    << destination.key.text();
    }
    [[nodiscard]] bool is_local(const net::IpAddress& address) const {
        const auto route = topology_->node().must_run({"ip", "route", "get", address.text()});
        return route && route->starts_with("local ");
    }
    std::vector<testnet::Outcome> ask(testnet::Place from, std::string_view source, std::string_view destination,
                                      std::uint16_t port, int times = 4) {
        std::vector<Probe> probes(static_cast<std::size_t>(times),
                                  {from, at(source), at(destination), net::Protocol::kTcp, port});
        auto outcomes = engine_->run(probes);
        EXPECT_TRUE(outcomes) << outcomes.error().message;
        return outcomes ? std::move(*outcomes) : std::vector<testnet::Outcome>();
    }
    // Who answers, and as whom they see the client: "10.0.0.2 kept", "10.181.0.2 masqueraded"; else what happened.
    std::set<std::string> seen(testnet::Place from, std::string_view source, std::string_view destination,
                               std::uint16_t port) {
        std::set<std::string> all;
        for (const auto& one : ask(from, source, destination, port)) {
            if (one.seen != Seen::kAnswered) {
                all.insert(std::string(seen_name(one.seen)));
                continue;
            }
            const auto back = one.endpoint.text();
            all.insert(back + (one.source == at(source) ? " kept" : " masqueraded"));
        }
        return all;
    }
    [[nodiscard]] std::string end(std::string_view ipv4, std::string_view how) const {
        return fmt::format("{} {}", at(ipv4).text(), how);
    }

    std::unique_ptr<testnet::Topology> topology_;
    std::unique_ptr<testnet::ProbeEngine> engine_;
    std::unique_ptr<OnKernel> process_;
    std::unique_ptr<plan::Planner> planner_;
};
INSTANTIATE_TEST_SUITE_P(BothFamilies, IpvsPackets, ::testing::ValuesIn(net::kFamilies),
                         [](const auto& row) { return std::string(net::family_name(row.param)); });

using Seens = std::set<std::string>;
constexpr auto kPods = testnet::Place::kPods;
constexpr auto kOutside = testnet::Place::kOutside;
constexpr auto kNode = testnet::Place::kNode;

TEST_P(IpvsPackets, PolicyCluster) {
    change({put(web()), put(ends({"10.0.0.2"}, {"10.181.0.2"}))});
    for (const auto* destination : {"172.30.0.1", "1.2.3.4"}) {
        SCOPED_TRACE(destination);
        const bool inner = destination == std::string("172.30.0.1");
        EXPECT_EQ(seen(kPods, "10.0.0.1", destination, 80), (Seens{end("10.0.0.2", inner ? "kept" : "masqueraded"),
                                                                   end("10.181.0.2", inner ? "kept" : "masqueraded")}));
        EXPECT_EQ(seen(kNode, "192.168.0.2", destination, 80),
                  (Seens{end("10.0.0.2", "masqueraded"), end("10.181.0.2", "masqueraded")}));
        EXPECT_EQ(seen(kOutside, "203.0.113.9", destination, 80),
                  (Seens{end("10.0.0.2", "masqueraded"), end("10.181.0.2", "masqueraded")}));
        EXPECT_EQ(seen(kOutside, "203.0.113.9", destination, 8080), Seens{"rejected"}) << "no port of the Service's";
    }
    EXPECT_EQ(seen(kOutside, "203.0.113.9", "192.168.0.2", 30080),
              (Seens{end("10.0.0.2", "masqueraded"), end("10.181.0.2", "masqueraded")}));
    EXPECT_EQ(seen(kPods, "10.0.0.2", "172.30.0.1", 80),
              (Seens{end("10.0.0.2", "masqueraded"), end("10.181.0.2", "kept")}))
        << "an endpoint reaches itself";
    change({put(ends({}, {}))});
    for (const auto* destination : {"172.30.0.1", "1.2.3.4"}) {
        EXPECT_EQ(seen(kPods, "10.0.0.1", destination, 80), Seens{"rejected"});
        EXPECT_EQ(seen(kOutside, "203.0.113.9", destination, 80), Seens{"rejected"});
    }
}

TEST_P(IpvsPackets, PolicyLocal) {
    auto object = web();
    object.external_traffic_policy = api::TrafficPolicy::kLocal;
    change({put(object), put(ends({"10.0.0.2"}, {"10.181.0.2"}))});
    struct Way {
        const char* destination;
        std::uint16_t port;
    };
    const std::vector<Way> ways{{"1.2.3.4", 80}, {"192.168.0.2", 30080}};
    for (const auto& way : ways) {
        SCOPED_TRACE(way.destination);
        EXPECT_EQ(seen(kOutside, "203.0.113.9", way.destination, way.port), Seens{end("10.0.0.2", "kept")});
        EXPECT_EQ(seen(kPods, "10.0.0.1", way.destination, way.port),
                  (Seens{end("10.0.0.2", "kept"), end("10.181.0.2", "kept")}));
        EXPECT_EQ(seen(kNode, "192.168.0.2", way.destination, way.port),
                  (Seens{end("10.0.0.2", "masqueraded"), end("10.181.0.2", "masqueraded")}));
    }
    change({put(ends({}, {"10.181.0.2"}))});
    for (const auto& way : ways) {
        SCOPED_TRACE(way.destination);
        EXPECT_EQ(seen(kOutside, "203.0.113.9", way.destination, way.port), Seens{"dropped"});
        EXPECT_EQ(seen(kPods, "10.0.0.1", way.destination, way.port), Seens{end("10.181.0.2", "kept")});
        EXPECT_EQ(seen(kNode, "192.168.0.2", way.destination, way.port), Seens{end("10.181.0.2", "masqueraded")});
    }
    object.external_traffic_policy = api::TrafficPolicy::kCluster;
    object.internal_traffic_policy = api::TrafficPolicy::kLocal;
    change({put(object)});
    EXPECT_EQ(seen(kOutside, "203.0.113.9", "1.2.3.4", 80), Seens{end("10.181.0.2", "masqueraded")});
    EXPECT_EQ(seen(kPods, "10.0.0.1", "172.30.0.1", 80), Seens{"dropped"});
    EXPECT_EQ(seen(kNode, "192.168.0.2", "172.30.0.1", 80), Seens{"dropped"});
}

TEST_P(IpvsPackets, SourceRanges) {
    auto object = web();
    object.load_balancer_source_ranges = {net::Prefix::host(at("203.0.113.9")), net::Prefix::host(at("10.0.0.1"))};
    for (const auto policy : {api::TrafficPolicy::kCluster, api::TrafficPolicy::kLocal}) {
        SCOPED_TRACE(policy == api::TrafficPolicy::kLocal ? "Local" : "Cluster");
        object.external_traffic_policy = policy;
        change({put(object), put(ends({"10.0.0.2"}, {}))});
        for (const auto& [from, source, allowed] :
             {std::tuple{kOutside, "203.0.113.9", true}, std::tuple{kOutside, "203.0.113.8", false},
              std::tuple{kPods, "10.0.0.1", true}, std::tuple{kPods, "10.0.0.3", false},
              std::tuple{kNode, "192.168.0.2", false}}) {
            const auto all = seen(from, source, "1.2.3.4", 80);
            if (allowed)
                EXPECT_EQ(all.begin()->substr(0, at("10.0.0.2").text().size()), at("10.0.0.2").text()) << source;
            else
                EXPECT_EQ(all, Seens{"dropped"}) << source;
        }
    }
}

TEST_P(IpvsPackets, ExplainAgreesWithTheKernel) {
    auto object = web();
    object.external_traffic_policy = api::TrafficPolicy::kLocal;
    change({put(object), put(ends({"10.0.0.2"}, {"10.181.0.2"}))});
    const auto inside = topology_->node().enter();
    const auto plan = planner_->plan();
    const plan::Explainer explainer(plan, plan::ipvs_profile());
    const auto journey = explainer.explain({at("10.0.0.1"), at("1.2.3.4"), net::Protocol::kTcp, 80, "pods"});
    const auto before = sight(plan, journey, options());
    ASSERT_TRUE(before) << before.error().message;
    EXPECT_THAT(before->differences, IsEmpty());
    EXPECT_THAT(before->found, Contains(HasSubstr("DNAT")));
    ASSERT_TRUE(topology_->node().must_run({"ipvsadm", "-e", "-t", net::host_port(at("1.2.3.4"), 80), "-r",
                                            net::host_port(at("10.0.0.2"), 8080), "-m", "-w", "7"}));
    const auto after = sight(plan, journey, options());
    ASSERT_TRUE(after);
    EXPECT_THAT(after->differences, Contains(HasSubstr("weight 7")));
    const auto repaired = process_->dataplane.reconcile(planner_->plan());
    ASSERT_TRUE(repaired);
    EXPECT_EQ(repaired->differences, 1U);
}

sockaddr_storage socket_address(const net::IpAddress& address, std::uint16_t port, socklen_t& length) {
    sockaddr_storage made{};
    if (address.is_ipv4()) {
        auto* v4 = reinterpret_cast<sockaddr_in*>(&made);
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        std::copy(address.bytes().begin(), address.bytes().end(), reinterpret_cast<std::uint8_t*>(&v4->sin_addr));
        length = sizeof *v4;
    } else {
        auto* v6 = reinterpret_cast<sockaddr_in6*>(&made);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        std::copy(address.bytes().begin(), address.bytes().end(), v6->sin6_addr.s6_addr);
        length = sizeof *v6;
    }
    return made;
}

// Accepts for an endpoint, in the place of the responders, so that nobody closes a connection.
Fd listen_at(const testnet::Namespace& where, const net::IpAddress& address, std::uint16_t port) {
    const auto inside = where.enter();
    socklen_t length = 0;
    auto own = socket_address(address, port, length);
    Fd made(::socket(own.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(made.get(), reinterpret_cast<sockaddr*>(&own), length), 0) << errno;
    EXPECT_EQ(::listen(made.get(), 5), 0);
    return made;
}

// From a port of its own choice where `from` is 0.
Fd connect_to(const testnet::Namespace& where, const net::IpAddress& address, std::uint16_t port,
              const net::IpAddress& source, std::uint16_t from) {
    const auto inside = where.enter();
    socklen_t length = 0;
    auto there = socket_address(address, port, length);
    auto here = socket_address(source, from, length);
    Fd made(::socket(there.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(made.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    const timeval patience{10, 0};
    ::setsockopt(made.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    ::setsockopt(made.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_EQ(::bind(made.get(), reinterpret_cast<sockaddr*>(&here), length), 0) << errno;
    EXPECT_EQ(::connect(made.get(), reinterpret_cast<sockaddr*>(&there), length), 0) << errno;
    return made;
}

// With a reset; IPVS keeps such a connection for 10 s.
void cut(Fd& connection) {
    const linger reset{1, 0};
    ::setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    connection = Fd();
}

TEST_P(IpvsPackets, AnEndpointThatLeavesFinishesWhatItServes) {
    auto moved = slice("web", "web", {slice_port("p", 9090)}, {{at("10.0.0.2").text(), "r", "test-node"}});
    change({put(web()), put(moved)});
    const auto listener = listen_at(topology_->at(kPods), at("10.0.0.2"), 9090);
    auto client = connect_to(topology_->at(kOutside), at("172.30.0.1"), 80, at("203.0.113.9"), 0);
    const Fd served(::accept(listener.get(), nullptr, nullptr));
    ASSERT_TRUE(served);
    change({put(ends({"10.0.0.3"}, {}))});
    EXPECT_EQ(process_->dataplane.draining(), 1U);
    EXPECT_EQ(seen(kPods, "10.0.0.1", "172.30.0.1", 80), Seens{end("10.0.0.3", "kept")});
    char byte = 'x';
    ASSERT_EQ(::send(client.get(), &byte, 1, 0), 1);
    ASSERT_EQ(::recv(served.get(), &byte, 1, 0), 1) << "the connection stands";

    const auto inside = topology_->node().enter();
    OnKernel successor(GetParam());
    ASSERT_TRUE(successor.dataplane.reconcile(planner_->plan()));
    EXPECT_EQ(successor.dataplane.draining(), 1U) << "a restart forgets nothing";
    cut(client);
    EXPECT_TRUE(comes(std::chrono::seconds(60), [&] {
        const auto sight = successor.dataplane.look(planner_->plan())();
        return sight && successor.dataplane.check(planner_->plan(), *sight) && successor.dataplane.draining() == 0;
    }));
    EXPECT_THAT(servers_of(open_here(GetParam())), Not(Contains(HasSubstr(":9090"))));
}

// kubernetes/kubernetes#81775: a client that dials again from a port whose connection IPVS still knows.
TEST_P(IpvsPackets, AReusedPortDoesNotLeadToAnEndpointThatLeaves) {
    auto moved = slice("web", "web", {slice_port("p", 9090)}, {{at("10.0.0.2").text(), "r", "test-node"}});
    change({put(web()), put(moved)});
    constexpr std::uint16_t kPort = 45678;
    {
        const auto listener = listen_at(topology_->at(kPods), at("10.0.0.2"), 9090);
        auto client = connect_to(topology_->at(kOutside), at("172.30.0.1"), 80, at("203.0.113.9"), kPort);
        cut(client);
    }
    change({put(ends({"10.0.0.3"}, {}))});
    EXPECT_EQ(process_->dataplane.draining(), 1U);
    const auto start = std::chrono::steady_clock::now();
    const auto again = connect_to(topology_->at(kOutside), at("172.30.0.1"), 80, at("203.0.113.9"), kPort);
    EXPECT_TRUE(again) << "nobody listens at the old endpoint any more";
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(900)) << "a second try was needed";
}

}  // namespace
}  // namespace ghostip::dataplane::ipvs

// All 32 bits of a packet's mark, but for our one, leave the first packet of a connection as they came; and none of
// them changes what becomes of it. Other software keeps bits there: container networks, policy routing.
#include <gtest/gtest.h>

#include <regex>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "packets/judge.h"
#include "packets/node_under_test.h"
#include "packets/objects.h"
#include "support/conntrack.h"
#include "support/probe.h"
#include "support/twin.h"

namespace ghostip::packets {
namespace {

using testnet::in_family;
using testnet::Place;
using testnet::Probe;

// Every single bit but ours, none, all, and both halves.
std::vector<std::uint32_t> marks_without(std::uint32_t ours) {
    std::vector<std::uint32_t> marks{0, ~ours, 0xaaaaaaaa & ~ours, 0x55555555 & ~ours};
    for (int bit = 0; bit < 32; ++bit)
        if (const auto mark = std::uint32_t{1} << bit; mark != ours) marks.push_back(mark);
    return marks;
}

struct Case {
    net::Family family;
    std::uint8_t bit;
};

class Marks : public ::testing::TestWithParam<Case> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }

    Result<void> set_up() {
        ASSIGN_OR_RETURN(topology_, testnet::Topology::create());
        ASSIGN_OR_RETURN(engine_, testnet::ProbeEngine::create(*topology_));
        RETURN_IF_ERROR(engine_->listen({80, 8080, 443, 30001, 30002, 30003, 30004}));
        plan::NodeSettings settings;
        settings.node_name = "test-node";
        settings.cluster_cidrs = {{in_family(family(), "10.0.0.0"), family() == net::Family::kIpv4 ? 8 : 64}};
        settings.cluster_cidrs.front().address =
            settings.cluster_cidrs.front().address.masked(settings.cluster_cidrs.front().length);
        settings.node_port_ranges = {{net::IpAddress(family()), 0}};
        settings.masquerade_bit = GetParam().bit;
        ASSIGN_OR_RETURN(node_, NodeUnderTest::open(*topology_, "nftables", family(), settings));
        return node_->change(objects(), NodeUnderTest::By::kReconcile);
    }

    [[nodiscard]] net::Family family() const { return GetParam().family; }
    [[nodiscard]] net::IpAddress address(std::string_view ipv4) const { return in_family(family(), ipv4); }

    // One service for every way that a packet can take.
    [[nodiscard]] std::vector<api::Change> objects() const {
        std::vector<api::Change> changes;
        const auto add = [&](const std::shared_ptr<api::Service>& service, std::size_t local, std::size_t remote) {
            auto slice = make_slice(*service, 8080);
            for (std::size_t i = 0; i < local; ++i)
                add_endpoint(*slice, address(fmt::format("10.180.0.{}", 1 + i)), true);
            for (std::size_t i = 0; i < remote; ++i)
                add_endpoint(*slice, address(fmt::format("10.181.0.{}", 1 + i)), false);
            changes.push_back(put(std::shared_ptr<const api::Service>(service)));
            changes.push_back(put(std::shared_ptr<const api::EndpointSlice>(slice)));
        };
        const auto external = [&](int number, api::TrafficPolicy policy) {
            auto service = make_service(fmt::format("svc{}", number), address(fmt::format("172.30.0.{}", number)),
                                        ports_of_all_protocols(80, static_cast<std::uint16_t>(30000 + number)));
            service->type = api::ServiceType::kLoadBalancer;
            service->load_balancer_vips = {address(fmt::format("5.6.7.{}", number))};
            service->external_ips = {address(fmt::format("1.2.3.{}", number))};
            service->external_traffic_policy = policy;
            return service;
        };
        add(external(1, api::TrafficPolicy::kCluster), 3, 2);
        add(external(2, api::TrafficPolicy::kLocal), 2, 2);
        auto sticky = external(3, api::TrafficPolicy::kCluster);
        sticky->affinity_seconds = 600;
        add(sticky, 2, 2);
        add(external(4, api::TrafficPolicy::kCluster), 0, 0);
        auto guarded = external(5, api::TrafficPolicy::kCluster);
        guarded->load_balancer_source_ranges = {
            {address("203.0.113.0").masked(family() == net::Family::kIpv4 ? 25 : 121),
             family() == net::Family::kIpv4 ? 25 : 121}};
        add(guarded, 2, 1);
        add(external(6, api::TrafficPolicy::kLocal), 0, 1);
        auto cidr = std::make_shared<api::ServiceCidr>();
        cidr->name = "kubernetes";
        const int length = family() == net::Family::kIpv4 ? 16 : 112;
        cidr->cidrs = {{address("172.30.0.0").masked(length), length}};
        changes.push_back(put(std::shared_ptr<const api::ServiceCidr>(cidr)));
        return changes;
    }

    // Marks what comes from marked clients before anybody else looks, and writes down which marks leave.
    // The node's UDP probes come from one address: one that gets the port of another before it, to the same
    // destination, belongs to that one's flow, and is not new.
    Result<void> load_foreign_rules() {
        const std::string ip = family() == net::Family::kIpv4 ? "ip" : "ip6";
        const std::string type = family() == net::Family::kIpv4 ? "ipv4_addr" : "ipv6_addr";
        std::string clients;
        for (const auto& [client, mark] : clients_)
            clients += fmt::format("{}{} : {:#x}", clients.empty() ? "" : ", ", client.text(), mark);
        const auto note =
            fmt::format("add @left {{ ct original {0} saddr . ct original {0} daddr . meta l4proto . meta mark }}", ip);
        const auto text = fmt::format(R"(table {0} foreign {{
            map clients {{
                type {1} : mark
                elements = {{ {2} }}
            }}
            set left {{
                type {1} . {1} . inet_proto . mark
                size 65535
                flags dynamic
            }}
            chain arriving {{
                type filter hook prerouting priority mangle;
                ct state new meta mark set {0} saddr map @clients
            }}
            chain leaving {{
                type filter hook postrouting priority 300;
                {3}
                meta l4proto udp ct direction original {4}
            }}
        }}
        )",
                                      ip, type, clients, "ct state new " + note, note);
        const auto loaded = topology_->node().must_run({"nft", "-f", "-"}, text);
        if (!loaded) return loaded.error();
        return {};
    }

    // The client that foreign rules give this mark.
    [[nodiscard]] net::IpAddress client(std::string_view first, std::uint32_t mark) {
        const auto marks = marks_without(std::uint32_t{1} << GetParam().bit);
        const auto index = std::find(marks.begin(), marks.end(), mark) - marks.begin();
        const auto dot = first.rfind('.');
        const int last = std::atoi(std::string(first.substr(dot + 1)).c_str());
        return address(fmt::format("{}.{}", first.substr(0, dot), last + index));
    }

    using Left = std::tuple<std::string, std::string, int, std::uint32_t>;  // source, destination, protocol, mark
    [[nodiscard]] std::set<Left> marks_that_left() const {
        const auto ip = family() == net::Family::kIpv4 ? "ip" : "ip6";
        const auto text = topology_->node().must_run({"nft", "-n", "list", "set", ip, "foreign", "left"});
        EXPECT_TRUE(text) << text.error().message;
        std::set<Left> left;
        static const std::regex element(R"(([0-9a-f.:]+) \. ([0-9a-f.:]+) \. (\d+) \. (0x[0-9a-f]+))");
        const std::string all = text.value_or("");
        for (auto match = std::sregex_iterator(all.begin(), all.end(), element); match != std::sregex_iterator();
             ++match)
            left.emplace((*match)[1], (*match)[2], std::stoi((*match)[3]),
                         static_cast<std::uint32_t>(std::stoul((*match)[4], nullptr, 16)));
        return left;
    }

    std::unique_ptr<testnet::Topology> topology_;
    std::unique_ptr<testnet::ProbeEngine> engine_;
    std::unique_ptr<NodeUnderTest> node_;
    std::vector<std::pair<net::IpAddress, std::uint32_t>> clients_;
};

TEST_P(Marks, AreKeptAndChangeNothing) {
    const auto ours = std::uint32_t{1} << GetParam().bit;
    const auto marks = marks_without(ours);
    // Marked clients: pods, outside clients, blocked ones. The node marks its own packets.
    for (const auto mark : marks)
        for (const auto* first : {"10.0.1.10", "203.0.113.10", "203.0.113.140"})
            clients_.emplace_back(client(first, mark), mark);
    const auto loaded = load_foreign_rules();
    ASSERT_TRUE(loaded) << loaded.error().message;

    // What leaves is told by its original destination, so each node port is dialled at an address of its own.
    const std::vector<std::string> node_addresses{"192.168.0.2",   "192.168.1.2",   "192.168.99.11",
                                                  "192.168.254.1", "192.168.254.5", "192.168.254.9"};
    std::vector<std::pair<std::string, std::uint16_t>> targets{
        {"172.30.0.99", 80}, {"9.9.9.9", 80}, {"172.30.0.1", 443}};
    for (int number = 1; number <= 6; ++number) {
        targets.emplace_back(fmt::format("172.30.0.{}", number), 80);
        targets.emplace_back(fmt::format("5.6.7.{}", number), 80);
        targets.emplace_back(fmt::format("1.2.3.{}", number), 80);
        targets.emplace_back(node_addresses[static_cast<std::size_t>(number - 1)], 30000 + number);
    }
    std::size_t balanced = 0;
    for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp}) {
        std::vector<Probe> probes;
        for (const auto& [target, port] : targets)
            for (const auto mark : marks) {
                probes.push_back({Place::kPods, client("10.0.1.10", mark), address(target), protocol, port});
                probes.push_back({Place::kOutside, client("203.0.113.10", mark), address(target), protocol, port});
                probes.push_back({Place::kOutside, client("203.0.113.140", mark), address(target), protocol, port});
                probes.push_back({Place::kNode, address("192.168.0.2"), address(target), protocol, port, mark});
            }
        ASSERT_TRUE(testnet::flush_conntrack(topology_->node()));
        const auto outcomes = engine_->run(probes);
        ASSERT_TRUE(outcomes) << outcomes.error().message;
        const auto left = marks_that_left();
        for (std::size_t i = 0; i < probes.size(); ++i) {
            const auto& probe = probes[i];
            const auto journey = node_->explain(probe);
            EXPECT_EQ(disagreement(*topology_, probe, journey, (*outcomes)[i]), "")
                << probe.text() << "\n  plan: " << text_of(journey) << "\n  packets: " << (*outcomes)[i].text();
            const bool leaves = journey.verdict == plan::Verdict::kBalanced ||
                                (journey.verdict == plan::Verdict::kNotOurs && (*outcomes)[i].place != Place::kNode);
            if (!leaves) continue;
            ++balanced;
            std::uint32_t mark = probe.mark;
            for (const auto& [client, given] : clients_)
                if (client == probe.source) mark = given;
            EXPECT_TRUE(
                left.contains({probe.source.text(), probe.destination.text(), static_cast<int>(protocol), mark}))
                << probe.text() << fmt::format(" came with mark {:#x} and did not leave with it", mark);
        }
        // Whatever left carries a mark that came; in particular never our bit.
        for (const auto& [source, destination, number, mark] : left)
            EXPECT_EQ(mark & ours, 0U) << source << " -> " << destination << " protocol " << number
                                       << fmt::format(" left with {:#x}", mark);
    }
    RecordProperty("flows_that_left", static_cast<int>(balanced));
    EXPECT_GT(balanced, 3000U);
}

INSTANTIATE_TEST_SUITE_P(FamiliesAndBits, Marks,
                         ::testing::Values(Case{net::Family::kIpv4, 14}, Case{net::Family::kIpv6, 14},
                                           Case{net::Family::kIpv4, 0}, Case{net::Family::kIpv6, 31}),
                         [](const auto& one) {
                             return fmt::format("{}Bit{}", net::family_name(one.param.family), one.param.bit);
                         });

}  // namespace
}  // namespace ghostip::packets

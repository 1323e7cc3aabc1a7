#include "dataplane/destination_table.h"

#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::dataplane {
namespace {

using namespace plan::testing;
using relay::Answer;
using Verdict = Answer::Verdict;

constexpr relay::ServiceId kCluster{1};
constexpr relay::ServiceId kLocal{2};

plan::Destination destination(std::string_view address, std::uint16_t port) {
    plan::Destination made;
    made.key = {false, ip(address), net::Protocol::kTcp, port};
    for (auto& treatment : made.treatments) treatment.action = plan::Action::kBalance;
    return made;
}

plan::Treatment& treatment(plan::Destination& of, plan::SourceClass source) {
    return of.treatments[static_cast<std::size_t>(source)];
}

relay::Arrival from(std::string_view client, std::string_view dialled = "192.168.0.2", std::uint16_t port = 30080) {
    relay::Arrival arrival;
    arrival.client = {ip(client), 40000};
    arrival.local = arrival.destination = {ip(dialled), port};
    return arrival;
}

struct Table : ::testing::Test {
    Table() {
        plan::NodeRules node;
        node.detector.kind = plan::LocalDetector::Kind::kCidr;
        node.detector.cidr = cidr("10.0.0.0/8");
        node.addresses = ips({"127.0.0.1", "192.168.0.2"});
        table.set_node(node);
    }
    DestinationTable table;
    const plan::ServicePortName web{{"ns", "web"}, "p", net::Protocol::kTcp};
    const plan::ServicePortName other{{"ns", "other"}, "p", net::Protocol::kTcp};
};

TEST_F(Table, FindsWhoWasDialledBeforeTheKernelLedThemHere) {
    table.put(web, destination("172.30.0.41", 80), {kCluster, kLocal});
    const auto answer = table.led_here(from("10.0.0.2", "172.30.0.41", 80), plan::PoolScope::kLocal);
    EXPECT_EQ(answer.verdict, Verdict::kServe);
    EXPECT_EQ(answer.service, kLocal);
    EXPECT_EQ(table.led_here(from("10.0.0.2", "172.30.0.41", 81), plan::PoolScope::kLocal).verdict, Verdict::kRefuse);
    EXPECT_EQ(table.led_here(from("10.0.0.2", "192.168.0.2", 45678), plan::PoolScope::kCluster).verdict,
              Verdict::kRefuse)
        << "dialled the relay itself";
}

TEST_F(Table, FindsNodePortsAtAnyAddress) {
    auto node_port = destination("0.0.0.0", 30080);
    node_port.key.node_port = true;
    table.put(web, node_port, {kCluster, {}});
    EXPECT_EQ(table.led_here(from("10.0.0.2"), plan::PoolScope::kCluster).service, kCluster);
    EXPECT_EQ(table.led_here(from("10.0.0.2"), plan::PoolScope::kLocal).verdict, Verdict::kRefuse)
        << "nobody was ever in that pool";
}

TEST_F(Table, AsksThePlansPolicyOfWhoCameByThemselves) {
    auto one = destination("192.168.0.2", 30080);
    treatment(one, plan::SourceClass::kOutside) = {plan::Action::kDrop, plan::PoolScope::kLocal, false};
    treatment(one, plan::SourceClass::kNode) = {plan::Action::kReject, plan::PoolScope::kCluster, false};
    table.put(web, one, {kCluster, kLocal});
    EXPECT_EQ(table.came(from("10.0.0.2"), one.key).service, kCluster);
    EXPECT_EQ(table.came(from("203.0.113.2"), one.key).verdict, Verdict::kDrop);
    EXPECT_EQ(table.came(from("203.0.113.2"), one.key).service, kCluster) << "and counted there";
    EXPECT_EQ(table.came(from("192.168.0.2"), one.key).verdict, Verdict::kRefuse);
    EXPECT_EQ(table.came(from("127.0.0.9"), one.key).verdict, Verdict::kRefuse) << "this node too";
}

TEST_F(Table, DropsSourcesThatAreNotAllowed) {
    auto one = destination("192.168.0.2", 30080);
    one.allowed_sources = cidrs({"203.0.113.0/25"});
    table.put(web, one, {kCluster, {}});
    EXPECT_EQ(table.came(from("203.0.113.2"), one.key).verdict, Verdict::kServe);
    EXPECT_EQ(table.came(from("203.0.113.130"), one.key).verdict, Verdict::kDrop);
}

TEST_F(Table, KeepsWhatAnotherHasTakenOver) {
    const auto one = destination("172.30.0.41", 80);
    table.put(web, one, {kCluster, {}});
    table.put(other, one, {kLocal, {}});
    table.erase(web, one.key);
    EXPECT_EQ(table.came(from("10.0.0.2"), one.key).service, kLocal);
    table.erase(other, one.key);
    EXPECT_EQ(table.came(from("10.0.0.2"), one.key).verdict, Verdict::kRefuse);
}

}  // namespace
}  // namespace ghostip::dataplane

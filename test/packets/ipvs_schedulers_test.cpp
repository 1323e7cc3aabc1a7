// Each scheduler of IPVS chooses what its documentation says (Linux, net/netfilter/ipvs/ip_vs_<name>.c), asked for by
// the annotations of a Service and seen by connections through the real `ghostip proxy`. Runs inside user-mode Linux.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "packets/echo.h"
#include "packets/live_node.h"

namespace ghostip::packets {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsSubsetOf;
using ::testing::Le;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using testnet::Place;

constexpr std::chrono::seconds kPatience(5);
constexpr std::string_view kClient = "10.0.0.2";
constexpr std::string_view kDestination = "172.30.0.1";

class Schedulers : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(live_, LiveNode::create(GetParam()));
        live_->set_mode("ipvs-legacy");
        ASSIGN_OR_RETURN(server_, EchoServer::start(live_->topology().at(Place::kPods), GetParam(), kEchoTarget));
        return {};
    }

    // Weights by the last number of 10.180.0.x, in the order of endpoints. One Service, with an external IP for each of
    // `externals`.
    void serve(const std::string& scheduler, const std::vector<int>& weights, int externals = 0) {
        write(scheduler, weights, externals);
        const auto started = live_->start_and_wait();
        ASSERT_TRUE(started) << started.error().message;
    }
    // `gone`: the number of one that is no endpoint any more.
    void write(const std::string& scheduler, const std::vector<int>& weights, int externals, int gone = 0) {
        std::string said;
        std::string endpoints;
        for (std::size_t i = 0; i < weights.size(); ++i) {
            const auto address = fmt::format("10.180.0.{}", i + 1);
            said += fmt::format("{}{}={}", i == 0 ? "" : ", ", live_->address(address).text(), weights[i]);
            if (static_cast<int>(i) + 1 == gone) continue;
            endpoints += fmt::format("- {{addresses: [\"{}\"], nodeName: test-node}}\n", address);
        }
        std::string external;
        for (int i = 1; i <= externals; ++i) external += fmt::format("{}\"1.2.3.{}\"", i == 1 ? "" : ", ", i);
        live_->write("service.yaml",
                     fmt::format("---\napiVersion: v1\nkind: Service\nmetadata:\n  name: s\n  annotations:\n"
                                 "    ghostip.io/ipvs-scheduler: {}\n    ghostip.io/endpoint-weights: '{}'\n"
                                 "spec: {{clusterIP: \"{}\", ipFamilies: [IPv4], externalIPs: [{}], "
                                 "ports: [{{protocol: TCP, port: {}}}]}}\n"
                                 "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s-1\n"
                                 "  labels: {{kubernetes.io/service-name: s}}\naddressType: IPv4\n"
                                 "ports: [{{name: \"\", protocol: TCP, port: {}}}]\nendpoints:\n{}",
                                 scheduler, said, kDestination, external, kEchoPort, kEchoTarget, endpoints));
    }
    // Is nothing new meant for the endpoint, in every virtual server?
    [[nodiscard]] bool has_left(int number) const {
        const auto saved = live_->node().must_run({"ipvsadm", "-Sn"});
        if (!saved) return false;
        const auto endpoint = net::host_port(live_->address(fmt::format("10.180.0.{}", number)), kEchoTarget);
        std::istringstream in(*saved);
        for (std::string line; std::getline(in, line);)
            if (line.find(" -r " + endpoint + " ") != std::string::npos && !line.ends_with(" -w 0")) return false;
        return true;
    }

    // A connection that stays; which endpoint has it, by its number. 0: none.
    int connect(std::string_view from = kClient, std::string_view to = kDestination) {
        auto client = EchoClient::open(live_->topology().at(Place::kPods), net::Protocol::kTcp, live_->address(from),
                                       live_->address(to), kEchoPort);
        if (!client) {
            ADD_FAILURE() << client.error().message;
            return 0;
        }
        const auto answer = client->ask(kPatience);
        if (!answer) {
            ADD_FAILURE() << answer.error().message;
            return 0;
        }
        for (int number = 1; number < 20; ++number)
            if (live_->address(fmt::format("10.180.0.{}", number)) == *answer) {
                held_[number].push_back(std::move(*client));
                return number;
            }
        ADD_FAILURE() << "no endpoint: " << answer->text();
        return 0;
    }
    std::vector<int> connect_times(int times, std::string_view from = kClient, std::string_view to = kDestination) {
        std::vector<int> chosen;
        for (int i = 0; i < times; ++i) chosen.push_back(connect(from, to));
        return chosen;
    }
    // How many of them each endpoint has.
    static std::map<int, int> counts(const std::vector<int>& chosen) {
        std::map<int, int> result;
        for (const int one : chosen) ++result[one];
        return result;
    }
    static std::set<int> distinct(const std::vector<int>& chosen) { return {chosen.begin(), chosen.end()}; }
    // All connections of an endpoint end.
    void end(int endpoint) { held_.erase(endpoint); }

    std::unique_ptr<LiveNode> live_;
    std::unique_ptr<EchoServer> server_;
    std::map<int, std::vector<EchoClient>> held_;  // by endpoint
};

TEST_P(Schedulers, RoundRobinTakesTurns) {
    serve("rr", {1, 5, 1});
    const auto chosen = connect_times(9);
    EXPECT_THAT(counts(chosen), ElementsAre(Pair(1, 3), Pair(2, 3), Pair(3, 3))) << "whatever the weights";
    for (std::size_t i = 3; i < chosen.size(); ++i) EXPECT_EQ(chosen[i], chosen[i - 3]) << "in one order";
}

TEST_P(Schedulers, WeightedRoundRobinTakesTurnsByWeight) {
    serve("wrr", {4, 1, 0, 3});
    EXPECT_THAT(counts(connect_times(16)), ElementsAre(Pair(1, 8), Pair(2, 2), Pair(4, 6)));
}

TEST_P(Schedulers, LeastConnectionsTakesWhoHasFewest) {
    serve("lc", {1, 9, 1});
    EXPECT_THAT(counts(connect_times(6)), ElementsAre(Pair(1, 2), Pair(2, 2), Pair(3, 2))) << "whatever the weights";
    end(2);
    EXPECT_THAT(connect_times(2), ElementsAre(2, 2));
}

TEST_P(Schedulers, WeightedLeastConnectionsSharesByWeight) {
    serve("wlc", {4, 1});
    EXPECT_THAT(counts(connect_times(10)), ElementsAre(Pair(1, 8), Pair(2, 2)));
    end(1);
    EXPECT_THAT(distinct(connect_times(4)), ElementsAre(1));
}

// (connections + 1) / weight: the slower one gets nothing while the faster one has fewer than its share.
TEST_P(Schedulers, ShortestExpectedDelayPrefersTheFaster) {
    serve("sed", {4, 1});
    EXPECT_THAT(connect_times(3), ElementsAre(1, 1, 1));
    EXPECT_THAT(counts(connect_times(7)), ElementsAre(Pair(1, 5), Pair(2, 2)));
}

// As the last one, but nobody waits while somebody is idle.
TEST_P(Schedulers, NeverQueueTakesWhoIsIdle) {
    serve("nq", {4, 1});
    EXPECT_THAT(connect_times(2), UnorderedElementsAre(1, 2));
    EXPECT_THAT(connect_times(2), ElementsAre(1, 1));
}

TEST_P(Schedulers, SourceHashingKeepsAClientWhereItIs) {
    serve("sh", {1, 1, 1});
    std::vector<int> firsts;
    for (int client = 1; client <= 24; ++client) {
        const auto from = fmt::format("10.0.1.{}", client);
        const auto chosen = connect_times(3, from);
        EXPECT_THAT(distinct(chosen), SizeIs(1)) << from;
        firsts.push_back(chosen.front());
    }
    EXPECT_THAT(distinct(firsts), ElementsAre(1, 2, 3)) << "other clients go elsewhere";
}

TEST_P(Schedulers, DestinationHashingKeepsADestinationWhereItIs) {
    serve("dh", {1, 1, 1}, 16);
    std::vector<int> firsts;
    for (int number = 1; number <= 16; ++number) {
        const auto to = fmt::format("1.2.3.{}", number);
        std::vector<int> chosen{connect("10.0.1.1", to), connect("10.0.1.2", to), connect("10.0.1.3", to)};
        EXPECT_THAT(distinct(chosen), SizeIs(1)) << to;
        firsts.push_back(chosen.front());
    }
    EXPECT_THAT(distinct(firsts), SizeIs(Ge(2U))) << "other destinations go elsewhere";
}

// One leaves, and another one has weight 0: what hashes to them is served by the rest, and who is connected stays.
TEST_P(Schedulers, HashingServesAllThatIsNewWhileAnEndpointLeaves) {
    for (const std::string scheduler : {"sh", "mh"}) {
        SCOPED_TRACE(scheduler);
        held_.clear();
        serve(scheduler, {1, 1, 1, 0});
        const auto connect_all = [&] {
            std::vector<int> chosen;
            for (int client = 1; client <= 30; ++client) chosen.push_back(connect(fmt::format("10.0.1.{}", client)));
            return distinct(chosen);
        };
        EXPECT_THAT(connect_all(), ElementsAre(1, 2, 3));
        ASSERT_FALSE(has_left(2));
        write(scheduler, {1, 1, 1, 0}, 0, 2);
        ASSERT_TRUE(wait_until(std::chrono::seconds(60), [&] { return has_left(2); }));
        ASSERT_FALSE(held_[2].empty());
        auto kept = std::exchange(held_[2], {});
        EXPECT_THAT(connect_all(), ElementsAre(1, 3));
        for (auto& client : kept) {
            const auto answer = client.ask(kPatience);
            ASSERT_TRUE(answer) << answer.error().message;
            EXPECT_EQ(*answer, live_->address("10.180.0.2")) << "what is connected stays";
        }
        live_->stop(SIGTERM);
    }
}

// dh has no way past one of weight 0, so that it goes at once, and its connections with it.
TEST_P(Schedulers, DestinationHashingServesAllThatIsNewWhileAnEndpointLeaves) {
    serve("dh", {1, 1, 1, 0}, 16);
    const auto connect_all = [&] {
        std::vector<int> chosen;
        for (int number = 1; number <= 16; ++number)
            chosen.push_back(connect("10.0.1.1", fmt::format("1.2.3.{}", number)));
        return distinct(chosen);
    };
    EXPECT_THAT(connect_all(), IsSubsetOf({1, 2, 3}));
    ASSERT_FALSE(held_[2].empty());
    write("dh", {1, 1, 1, 0}, 16, 2);
    ASSERT_TRUE(wait_until(std::chrono::seconds(60), [&] { return has_left(2); }));
    EXPECT_THAT(connect_all(), IsSubsetOf({1, 3}));
    EXPECT_FALSE(held_[2].front().ask(kPatience)) << "nobody stands behind it any more";
}

// A destination stays with its server until that one has more connections than its weight and another one less than
// half of that.
TEST_P(Schedulers, LocalityStaysUntilItIsTooMuch) {
    for (const std::string scheduler : {"lblc", "lblcr"}) {
        SCOPED_TRACE(scheduler);
        held_.clear();
        serve(scheduler, {6, 6});
        const auto first = connect_times(6);
        EXPECT_THAT(distinct(first), SizeIs(1));
        const auto more = connect_times(4);
        EXPECT_THAT(distinct(more), AllOf(SizeIs(Ge(1U)), IsSubsetOf({1, 2})));
        EXPECT_EQ(more.back(), 3 - first.front()) << "the other one, once the first has more than its weight";
    }
}

// Maglev hashing, of address and port: the same for the same client socket, equal shares, and a server that leaves
// moves hardly anybody else.
TEST_P(Schedulers, MaglevSharesEvenly) {
    serve("mh", {1, 1, 1});
    std::vector<int> chosen;
    for (int client = 1; client <= 60; ++client) chosen.push_back(connect(fmt::format("10.0.1.{}", client)));
    EXPECT_THAT(counts(chosen), ElementsAre(Pair(1, Ge(8)), Pair(2, Ge(8)), Pair(3, Ge(8))));
}

TEST_P(Schedulers, FailoverTakesTheHeaviest) {
    serve("fo", {1, 7, 3});
    EXPECT_THAT(distinct(connect_times(6)), ElementsAre(2));
}

TEST_P(Schedulers, OverflowTakesTheNextWhenOneIsFull) {
    serve("ovf", {2, 5});
    // Full is who has more than its weight.
    EXPECT_THAT(connect_times(8), ElementsAre(2, 2, 2, 2, 2, 2, 1, 1));
}

// The kernel is not asked for a module that a Service names: ip_vs_ftp would be one.
TEST_P(Schedulers, OneThatIsNoneIsSaid) {
    serve("ftp", {1, 1});
    EXPECT_THAT(counts(connect_times(4)), ElementsAre(Pair(1, 2), Pair(2, 2))) << "the node's, rr, serves";
    EXPECT_THAT(live_->log(), HasSubstr("is not one of the schedulers rr, wrr,"));
}

INSTANTIATE_TEST_SUITE_P(Families, Schedulers, ::testing::ValuesIn(net::kFamilies),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets

#include "plan/endpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::plan {
namespace {

using net::Protocol;
using namespace testing;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::string_view kHere = "test-node";

std::vector<Candidate> of(const std::vector<Ep>& endpoints) {
    static Slices kept;  // candidates point into their slices
    kept = {shared(slice("s", "svc", {slice_port("p", 80)}, endpoints))};
    return candidates(kept, "p", Protocol::kTcp, kHere);
}

// --- endpoint choice: cases 1 to 32 ---------------------------------------------------------------------------------

enum class Policy { kCluster, kLocal };
struct Policies {
    Policy internal = Policy::kCluster;
    Policy external = Policy::kCluster;
    bool exposed = false;  // has a node port
};
constexpr Policies kClusterOnly{};
constexpr Policies kExternalLocal{Policy::kCluster, Policy::kLocal, true};
constexpr Policies kInternalLocal{Policy::kLocal, Policy::kCluster, true};
constexpr Policies kBothLocal{Policy::kLocal, Policy::kLocal, true};
constexpr Policies kInternalLocalOnly{Policy::kLocal, Policy::kCluster, false};

ServicePort with(const Policies& policies) {
    ServicePort port;
    port.internal_policy_local = policies.internal == Policy::kLocal;
    port.external_policy_local = policies.external == Policy::kLocal;
    port.node_port = policies.exposed ? 30000 : 0;
    return port;
}

// Endpoints are numbered from 1 on: number n has the address 10.0.0.n.
using Numbers = std::vector<int>;
struct ChoiceCase {
    const char* name;
    Policies policies;
    Topology topology;
    std::vector<Ep> endpoints;  // without addresses
    Numbers cluster, local, all;
    bool any;
};

const std::string kNode(kHere);
const Topology kZoneA{kNode, "a"};
const Topology kNoZone{kNode, ""};

Ep in_zones(std::vector<std::string> zones, std::string conditions = "r", std::string node = "other") {
    return {"", std::move(conditions), std::move(node), std::move(zones), {}};
}
Ep for_node(std::string node, std::vector<std::string> zones = {}) {
    return {"", "r", "other", std::move(zones), {std::move(node)}};
}
Ep here(std::string conditions = "r") { return {"", std::move(conditions), kNode, {}, {}}; }
Ep elsewhere(std::string conditions = "r") { return {"", std::move(conditions), "other", {}, {}}; }

const std::vector<ChoiceCase>& choice_cases() {
    static const std::vector<Ep> zoned{in_zones({"a"}, "r", kNode), in_zones({"b"}, "r", kNode), in_zones({"c"}),
                                       in_zones({"a"})};
    static const std::vector<Ep> both_zones{in_zones({"a"}, "r", kNode), in_zones({"b"}, "r", kNode), in_zones({"a"}),
                                            in_zones({"b"})};
    static const std::vector<Ep> one_of_each{here(), elsewhere()};
    static const std::vector<Ep> by_node{for_node("node-1", {"a"}), for_node("node-2", {"a"}),
                                         for_node("node-3", {"b"})};
    static const std::vector<ChoiceCase> cases = {
        {"1: two endpoints hinted at our zone",
         kClusterOnly,
         kZoneA,
         {in_zones({"a"}), in_zones({"b"}), in_zones({"c"}), in_zones({"a"})},
         {1, 4},
         {},
         {1, 4},
         true},
        {"2: hints do not apply to the local list", kExternalLocal, kZoneA, zoned, {1, 4}, {1, 2}, {1, 4, 2}, true},
        {"3: the same with the policies swapped", kInternalLocal, kZoneA, zoned, {1, 4}, {1, 2}, {1, 4, 2}, true},
        {"4: a node without a zone ignores hints", kClusterOnly, kNoZone, {in_zones({"a"})}, {1}, {}, {1}, true},
        {"5: an empty zone matches no hint, not even an empty one",
         kClusterOnly,
         kNoZone,
         {in_zones({""}), in_zones({"a"})},
         {1, 2},
         {},
         {1, 2},
         true},
        {"6: nobody is hinted at our zone", kClusterOnly, {kNode, "b"}, {in_zones({"a"})}, {1}, {}, {1}, true},
        {"7: unready endpoints of our zone do not count",
         kClusterOnly,
         kZoneA,
         {in_zones({"a"}), in_zones({"b"}), in_zones({"c"}), in_zones({"a"}, "u")},
         {1},
         {},
         {1},
         true},
        {"8: all of our zone are unready",
         kClusterOnly,
         kZoneA,
         {in_zones({"a"}, "u"), in_zones({"b"}), in_zones({"c"}), in_zones({"a"}, "u")},
         {2, 3},
         {},
         {2, 3},
         true},
        {"9: one endpoint without hints switches them off",
         kClusterOnly,
         kZoneA,
         {in_zones({"a"}), in_zones({"b"}), elsewhere()},
         {1, 2, 3},
         {},
         {1, 2, 3},
         true},
        {"9b: an unready one without hints does not",
         kClusterOnly,
         kZoneA,
         {in_zones({"a"}), in_zones({"b"}), elsewhere("u")},
         {1},
         {},
         {1},
         true},
        {"10: several zones an endpoint",
         kClusterOnly,
         {kNode, "c"},
         {in_zones({"a", "b", "c"}), in_zones({"b", "c"}), in_zones({"b", "d"}), in_zones({"c"})},
         {1, 2, 4},
         {},
         {1, 2, 4},
         true},
        {"12: node hints", kClusterOnly, {"node-1", "a"}, by_node, {1}, {}, {1}, true},
        {"13: node hints, one endpoint without any",
         kClusterOnly,
         {"node-1", "a"},
         {for_node("node-1"), for_node("node-2"), elsewhere()},
         {1, 2, 3},
         {},
         {1, 2, 3},
         true},
        {"14: no node hint for us, zone hints do", kClusterOnly, {"node-0", "a"}, by_node, {1, 2}, {}, {1, 2}, true},
        {"15: zones, two here and two there", kExternalLocal, kZoneA, both_zones, {1, 3}, {1, 2}, {1, 3, 2}, true},
        {"16: internal Local, nobody", kBothLocal, kZoneA, {}, {}, {}, {}, false},
        {"17: internal Local only, all remote",
         kInternalLocalOnly,
         kZoneA,
         {elsewhere(), elsewhere()},
         {},
         {},
         {},
         true},
        {"18: internal Local only, all local", kInternalLocalOnly, kZoneA, {here(), here()}, {}, {1, 2}, {1, 2}, true},
        {"19: internal Local only, one of each", kInternalLocalOnly, kZoneA, one_of_each, {}, {1}, {1}, true},
        {"20: all unready", kClusterOnly, kZoneA, {elsewhere("u"), here("u")}, {}, {}, {}, false},
        {"21: one unready, one ready", kClusterOnly, kZoneA, {elsewhere("u"), elsewhere()}, {2}, {}, {2}, true},
        {"22: all serving and terminating",
         kClusterOnly,
         kZoneA,
         {elsewhere("st"), elsewhere("st")},
         {1, 2},
         {},
         {1, 2},
         true},
        {"22b: hints do not apply to those",
         kClusterOnly,
         kZoneA,
         {in_zones({"b"}, "st"), in_zones({"a"}, "st")},
         {1, 2},
         {},
         {1, 2},
         true},
        {"22c: a ready one comes first", kClusterOnly, kZoneA, {elsewhere("st"), elsewhere()}, {2}, {}, {2}, true},
        {"23: internal Local, external Cluster", kInternalLocal, kZoneA, one_of_each, {1, 2}, {1}, {1, 2}, true},
        {"24: internal Cluster, external Local", kExternalLocal, kZoneA, one_of_each, {1, 2}, {1}, {1, 2}, true},
        {"25: both Local", kBothLocal, kZoneA, one_of_each, {1, 2}, {1}, {1, 2}, true},
        {"26: both Local, both remote", kBothLocal, kZoneA, {elsewhere(), elsewhere()}, {1, 2}, {}, {1, 2}, true},
        {"27: both remote, serving and terminating",
         kBothLocal,
         kZoneA,
         {elsewhere("st"), elsewhere("st")},
         {1, 2},
         {},
         {1, 2},
         true},
        {"28: the local list falls back on its own",
         kExternalLocal,
         kZoneA,
         {elsewhere(), here("u"), here("st"), elsewhere("st")},
         {1},
         {3},
         {1, 3},
         true},
        {"29: external Local, but nothing external",
         {Policy::kCluster, Policy::kLocal, false},
         kZoneA,
         one_of_each,
         {1, 2},
         {},
         {1, 2},
         true},
        {"30: internal Local, nothing external", kInternalLocalOnly, kZoneA, {here()}, {}, {1}, {1}, true},
        {"31: no endpoints", kExternalLocal, kZoneA, {}, {}, {}, {}, false},
        {"32: one unready endpoint", kClusterOnly, kZoneA, {here("u")}, {}, {}, {}, false},
        {"terminating and not serving: never", kBothLocal, kZoneA, {here("t"), elsewhere("t")}, {}, {}, {}, false},
        {"published as ready while terminating",
         kExternalLocal,
         kZoneA,
         {here("rt"), elsewhere("st")},
         {1},
         {1},
         {1},
         true},
    };
    return cases;
}

Pool numbered(const Numbers& numbers, const std::vector<Ep>& endpoints) {
    Pool pool;
    for (const int number : numbers)
        pool.push_back({ip("10.0.0." + std::to_string(number)), 80,
                        endpoints[static_cast<std::size_t>(number) - 1].node == kHere});
    return pool;
}

TEST(ChooseEndpoints, Cases) {
    for (const auto& c : choice_cases()) {
        auto endpoints = c.endpoints;
        for (std::size_t i = 0; i < endpoints.size(); ++i) endpoints[i].address = "10.0.0." + std::to_string(i + 1);
        const auto choice = choose(of(endpoints), with(c.policies), c.topology);
        EXPECT_EQ(texts(choice.cluster), texts(numbered(c.cluster, endpoints))) << c.name;
        EXPECT_EQ(choice.local, numbered(c.local, endpoints)) << c.name;
        EXPECT_EQ(reachable(choice.cluster, choice.local), numbered(c.all, endpoints)) << c.name;
        EXPECT_EQ(choice.has_any, c.any) << c.name;
    }
}

// --- from slices to candidates: cases 33 to 42 ----------------------------------------------------------------------

std::string conditions(const Candidate& candidate) {
    return std::string(candidate.ready ? "r" : "") + (candidate.serving ? "s" : "") +
           (candidate.terminating ? "t" : "");
}

// `10.0.0.1:80 rs local`
std::vector<std::string> seen(const Slices& slices, std::string_view port = "p", Protocol protocol = Protocol::kTcp,
                              std::string_view node = kHere) {
    std::vector<std::string> result;
    for (const auto& candidate : candidates(slices, port, protocol, node))
        result.push_back(net::host_port(candidate.endpoint.address, candidate.endpoint.port) + " " +
                         conditions(candidate) + (candidate.endpoint.local ? " local" : ""));
    return result;
}

TEST(Candidates, LocalAreThoseOfThisNode) {
    const Slices slices{
        shared(slice("s", "svc", {slice_port("http", 80), slice_port("https", 443)},
                     {{"10.0.1.1", "r", "test-node"}, {"10.0.1.2", "r", "host2"}, {"10.0.1.3", "r", "test-node"}}))};
    EXPECT_THAT(seen(slices, "http"), ElementsAre("10.0.1.1:80 rs local", "10.0.1.2:80 rs", "10.0.1.3:80 rs local"));
    EXPECT_THAT(seen(slices, "https"),
                ElementsAre("10.0.1.1:443 rs local", "10.0.1.2:443 rs", "10.0.1.3:443 rs local"));
    EXPECT_THAT(seen(slices, "other"), IsEmpty());
    EXPECT_THAT(seen(slices, "http", Protocol::kUdp), IsEmpty());
}

TEST(Candidates, NothingIsLocalToANodeWithoutAName) {
    const Slices slices{
        shared(slice("s", "svc", {slice_port("p", 80)}, {{"10.0.1.1", "r", ""}, {"10.0.1.2", "r", "host2"}}))};
    EXPECT_THAT(seen(slices, "p", Protocol::kTcp, ""), ElementsAre("10.0.1.1:80 rs", "10.0.1.2:80 rs"));
}

TEST(Candidates, SlicesAreJoinedInTheOrderOfText) {
    const Slices slices{shared(slice("b", "svc", {slice_port("p", 80)}, {{"10.0.0.2"}, {"10.0.0.1"}})),
                        shared(slice("a", "svc", {slice_port("p", 80)}, {{"10.0.0.10"}}))};
    EXPECT_THAT(seen(slices), ElementsAre("10.0.0.10:80 rs", "10.0.0.1:80 rs", "10.0.0.2:80 rs"))
        << "byte by byte: `10.0.0.10` sorts before `10.0.0.1:`, since 0 comes before the colon";
}

TEST(Candidates, OneAddressWithTwoPorts) {
    const Slices slices{shared(slice("b", "svc", {slice_port("p", 8080)}, {{"10.0.1.1"}, {"10.0.1.2"}})),
                        shared(slice("a", "svc", {slice_port("p", 80)}, {{"10.0.1.1"}, {"10.0.1.2"}}))};
    EXPECT_THAT(seen(slices), ElementsAre("10.0.1.1:80 rs", "10.0.1.1:8080 rs", "10.0.1.2:80 rs", "10.0.1.2:8080 rs"));
}

TEST(Candidates, PortsThatCannotBeUsed) {
    api::EndpointSlice object = slice("s", "svc", {slice_port("p", 80), slice_port("p", 0)}, {{"10.0.0.1"}});
    object.ports.push_back({std::nullopt, Protocol::kTcp, std::uint16_t{81}});
    object.ports.push_back({"p", Protocol::kTcp, std::nullopt});
    object.ports.push_back({"", Protocol::kTcp, std::uint16_t{82}});
    const Slices slices{shared(object)};
    EXPECT_THAT(seen(slices), ElementsAre("10.0.0.1:80 rs"));
    EXPECT_THAT(seen(slices, ""), ElementsAre("10.0.0.1:82 rs")) << "an empty name is a name, null is none";
}

TEST(Candidates, ConditionsAreKept) {
    const Slices slices{shared(
        slice("s", "svc", {slice_port("p", 80)},
              {{"10.0.0.1", "r"}, {"10.0.0.2", "st"}, {"10.0.0.3", "t"}, {"10.0.0.4", "u"}, {"10.0.0.5", "rt"}}))};
    EXPECT_THAT(seen(slices),
                ElementsAre("10.0.0.1:80 rs", "10.0.0.2:80 st", "10.0.0.3:80 t", "10.0.0.4:80 ", "10.0.0.5:80 rst"));
}

// `services.md` section 4.3: a later copy replaces an earlier one unless the later one is terminating. Case 42.
TEST(Candidates, CopiesOfOneEndpoint) {
    struct Case {
        const char* name;
        std::vector<std::string> copies;
        const char* kept;
    };
    const Case cases[] = {
        {"42: st, r, t", {"st", "r", "t"}, "10.0.0.1:80 rs"},
        {"a terminating one is kept when alone", {"t"}, "10.0.0.1:80 t"},
        {"a terminating one does not replace a terminating one", {"st", "t"}, "10.0.0.1:80 st"},
        {"an unready one replaces", {"r", "u"}, "10.0.0.1:80 "},
        {"a ready one replaces", {"u", "r"}, "10.0.0.1:80 rs"},
    };
    for (const auto& c : cases) {
        std::vector<Ep> within_a_slice;
        Slices across_slices;
        for (std::size_t i = 0; i < c.copies.size(); ++i) {
            within_a_slice.push_back({"10.0.0.1", c.copies[i]});
            across_slices.push_back(
                shared(slice("slice-" + std::to_string(i), "svc", {slice_port("p", 80)}, {{"10.0.0.1", c.copies[i]}})));
        }
        EXPECT_THAT(seen({shared(slice("s", "svc", {slice_port("p", 80)}, within_a_slice))}), ElementsAre(c.kept))
            << c.name;
        EXPECT_THAT(seen(across_slices), ElementsAre(c.kept)) << c.name;
        std::reverse(across_slices.begin(), across_slices.end());
        EXPECT_THAT(seen(across_slices), ElementsAre(c.kept)) << c.name << ", arrived the other way round";
    }
}

TEST(Candidates, Ipv6Text) {
    const Slices slices{shared(slice("s", "svc", {slice_port("p", 80)}, {{"fd00:10::2"}, {"fd00:10::10"}}))};
    EXPECT_THAT(seen(slices), ElementsAre("[fd00:10::10]:80 rs", "[fd00:10::2]:80 rs"));
}

TEST(Reachable, IsTheUnion) {
    const Endpoint a{ip("10.0.0.1"), 80, true};
    const Endpoint b{ip("10.0.0.2"), 80, false};
    const Endpoint other_port{ip("10.0.0.1"), 81, true};
    EXPECT_EQ(reachable({a, b}, {a}), (Pool{a, b}));
    EXPECT_EQ(reachable({b}, {a}), (Pool{b, a}));
    EXPECT_EQ(reachable({a}, {other_port}), (Pool{a, other_port}));
    EXPECT_EQ(reachable({}, {a}), Pool{a});
    EXPECT_EQ(reachable({b}, {}), Pool{b});
}

}  // namespace
}  // namespace ghostip::plan

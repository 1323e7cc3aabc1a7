#include "cli/journey_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::cli {
namespace {

using namespace plan::testing;
using net::Protocol;
using ::testing::HasSubstr;
using ::testing::Not;

// Text and JSON of a flow to a Service with an endpoint, port 80, and to one without, port 81.
struct Told {
    Told(const plan::ModeProfile& profile, std::string_view to, Protocol protocol,
         const dataplane::Sighting* seen = nullptr) {
        NodePlanner planner(net::Family::kIpv4, node_settings(), profile);
        static_cast<void>(planner.apply(
            {put(service("web", "172.30.0.1", {service_port("t", 80), service_port("s", 80, Protocol::kSctp)})),
             put(slice("web", "web", {slice_port("t", 80), slice_port("s", 80, Protocol::kSctp)}, {{"10.180.0.1"}})),
             put(service("empty", "172.30.0.2", {service_port("t", 80)}))}));
        const auto plan = planner.plan();
        const auto journey = plan::Explainer(plan, profile).explain({ip("10.0.0.2"), ip(to), protocol, 80, ""});
        const Surroundings around{plan.node, [](const auto&) { return std::string("n2"); }, "rr", seen};
        text = journey_text(journey, around);
        json = journey_json(journey, around);
    }
    std::string text;
    std::string json;
};

TEST(JourneyText, SaysWhetherTwoConnectionsStandForOne) {
    const Told carried(plan::userspace_profile(), "172.30.0.1", Protocol::kTcp);
    EXPECT_THAT(carried.json, HasSubstr(R"("relayed": true)"));
    EXPECT_THAT(carried.text, HasSubstr("carried by ghostip"));
    for (const auto& kept : {Told(plan::nftables_profile(), "172.30.0.1", Protocol::kTcp),
                             Told(plan::userspace_profile(), "172.30.0.1", Protocol::kSctp)}) {
        EXPECT_THAT(kept.json, HasSubstr(R"("relayed": false)"));
        EXPECT_THAT(kept.text, Not(HasSubstr("carried by ghostip")));
    }
    const Told refused(plan::userspace_profile(), "172.30.0.2", Protocol::kTcp);
    EXPECT_THAT(refused.json, HasSubstr(R"("verdict": "rejected")"));
    EXPECT_THAT(refused.json, Not(HasSubstr("relayed"))) << "there is no second connection to speak of";
}

// What was seen is told from what only the plan says.
TEST(JourneyText, SaysWhatWasNotSeen) {
    constexpr const char* kPlansWord = "the plan's word";
    const dataplane::Sighting good{{"a rule"}, {}};
    EXPECT_THAT(Told(plan::userspace_profile(), "172.30.0.1", Protocol::kTcp, &good).text, HasSubstr(kPlansWord));
    EXPECT_THAT(Told(plan::nftables_profile(), "172.30.0.1", Protocol::kTcp, &good).text, Not(HasSubstr(kPlansWord)));
    const dataplane::Sighting bad{{"a rule"}, {"nobody listens"}};
    const Told differing(plan::userspace_profile(), "172.30.0.1", Protocol::kTcp, &bad);
    EXPECT_THAT(differing.text, Not(HasSubstr(kPlansWord)));
    EXPECT_THAT(differing.text, HasSubstr("DIFFERS    nobody listens"));
}

}  // namespace
}  // namespace ghostip::cli

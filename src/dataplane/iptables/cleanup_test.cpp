#include "dataplane/iptables/cleanup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/iptables/dataplane_testing.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using namespace plan::testing;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

plan::Plan some_plan() {
    NodePlanner planner(net::Family::kIpv4, node_settings(), plan::iptables_profile());
    auto object = service("svc", "172.30.0.1", {service_port("p", 80, net::Protocol::kTcp, 30001)});
    static_cast<void>(planner.apply({put(object), put(slice("s", "svc", {slice_port("p", 80)}, {{"10.180.0.1"}}))}));
    return planner.plan();
}

Lines ours_in(const MemoryIptables& twin) {
    Lines ours;
    for (const char* table : tables::kAll)
        for (const auto& line : twin.saved(table)) {
            const auto at = line.starts_with(':') ? 1U : 3U;
            if (is_own_chain(table, std::string_view(line).substr(at, line.find(' ', at) - at))) ours.push_back(line);
        }
    return ours;
}

Result<void> clean(MemoryIptables& twin) {
    std::vector<std::string> kept;
    return cleanup(twin, kept);
}

TEST(IptablesCleanup, LeavesWhatIsOthers) {
    for (const auto variant : {Variant::kNft, Variant::kLegacy}) {
        MemoryIptables twin(variant, net::Family::kIpv4);
        ASSERT_TRUE(clean(twin).has_value()) << "nothing is there";
        EXPECT_EQ(twin.restores(), 0U);
        const std::string_view others =
            "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"
            "*nat\n:KUBE-KUBELET-CANARY - [0:0]\n:CNI - [0:0]\n-A POSTROUTING -s 10.1.0.0/16 -j CNI\n-A CNI -j "
            "MASQUERADE\n"
            "COMMIT\n*filter\n:DOCKER - [0:0]\n-A FORWARD -j DOCKER\n-A DOCKER -j RETURN\nCOMMIT\n";
        static_cast<void>(twin.restore(others));
        MemoryIptables only_others(variant, net::Family::kIpv4);
        static_cast<void>(only_others.restore(others));
        static_cast<void>(only_others.restore(
            "*filter\n:KUBE-FIREWALL - [0:0]\n-I INPUT -j KUBE-FIREWALL\n-I OUTPUT -j KUBE-FIREWALL\n"
            "-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet "
            "connections\" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\nCOMMIT\n"));
        OnTwin place(twin);
        ASSERT_TRUE(place.reconcile(some_plan()).has_value());
        EXPECT_THAT(ours_in(twin), Not(IsEmpty()));
        const auto cleaned = clean(twin);
        ASSERT_TRUE(cleaned.has_value()) << cleaned.error().message;
        EXPECT_EQ(all_lines(twin), all_lines(only_others));
        ASSERT_TRUE(clean(twin).has_value()) << "a second time";
    }
}

TEST(IptablesCleanup, KeepsWhatOthersLeadInto) {
    MemoryIptables twin(Variant::kNft, net::Family::kIpv4);
    OnTwin place(twin);
    ASSERT_TRUE(place.reconcile(some_plan()).has_value());
    static_cast<void>(twin.restore("*nat\n:CNI-SETMARK - [0:0]\n-A CNI-SETMARK -j KUBE-MARK-MASQ\nCOMMIT\n"));
    ASSERT_TRUE(clean(twin).has_value());
    const auto lines = twin.saved("nat");
    EXPECT_THAT(lines, Contains("-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"));
    EXPECT_THAT(lines, Contains(HasSubstr("-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j "
                                          "KUBE-POSTROUTING")))
        << "the mark is worth nothing without it";
    EXPECT_THAT(lines, Not(Contains(HasSubstr("KUBE-SERVICES"))));
    EXPECT_THAT(lines, Not(Contains(HasSubstr("KUBE-SVC-"))));
}

// The same chains without the one that says whose they are.
TEST(IptablesCleanup, LeavesThoseOfKubeProxy) {
    MemoryIptables twin(Variant::kNft, net::Family::kIpv4);
    OnTwin place(twin);
    ASSERT_TRUE(place.reconcile(some_plan()).has_value());
    static_cast<void>(twin.restore("*mangle\n-X GHOSTIP-RULES\nCOMMIT\n"));
    const auto before = all_lines(twin);
    ASSERT_TRUE(clean(twin).has_value());
    EXPECT_EQ(all_lines(twin), before);
}

TEST(IptablesCleanup, GoesOnAfterAnError) {
    MemoryIptables twin(Variant::kNft, net::Family::kIpv4);
    OnTwin place(twin);
    ASSERT_TRUE(place.reconcile(some_plan()).has_value());
    for (const std::uint64_t before : {0U, 1U}) {
        twin.fail_calls(1, EIO, before);
        EXPECT_FALSE(clean(twin).has_value());
        EXPECT_THAT(twin.saved("filter"), Contains(HasSubstr("KUBE-SERVICES")))
            << "it could not be told whose they are";
    }
    twin.fail_calls(1, EIO, 2);
    EXPECT_FALSE(clean(twin).has_value());
    EXPECT_THAT(twin.saved("nat"), Contains(HasSubstr("KUBE-SERVICES")));
    EXPECT_THAT(twin.saved("filter"), Not(Contains(HasSubstr("KUBE-SERVICES"))));
    EXPECT_TRUE(clean(twin).has_value()) << "what is left is still ours";
    EXPECT_THAT(ours_in(twin), IsEmpty());
}

}  // namespace
}  // namespace ghostip::dataplane::iptables

#include "dataplane/iptables/names.h"

#include <gtest/gtest.h>

#include "plan/plan_testing.h"

namespace ghostip::dataplane::iptables {
namespace {

using plan::testing::ip;

TEST(Names, AreThoseOfKubernetes) {
    struct Case {
        const char* text;
        const char* hash;
    };
    for (const auto& c :
         {Case{"ns1/svc1:p80tcp", "XPGD46QRK7WJZT7O"}, Case{"ns1/svc1:p80tcp10.180.0.1:80", "SXIVWICOYRO3J4NJ"},
          Case{"ns1/svc1tcp", "AQI2S6QIMU7PVVRP"}, Case{"shop/web:httptcp", "67NZLRHBNDSAWJRO"},
          Case{"shop/web:httptcp10.1.0.5:8080", "UZBLB3XX2HRLVOJ5"},
          Case{"shop/web:httptcp[fd00:1::5]:8080", "PKCKJTBTVV2QNIXP"}})
        EXPECT_EQ(short_hash(c.text), c.hash) << c.text;
}

TEST(Names, OfChains) {
    const plan::ServicePortName web{{"shop", "web"}, "http", net::Protocol::kTcp};
    EXPECT_EQ(hash_of(web), "67NZLRHBNDSAWJRO");
    EXPECT_EQ(hash_of({{"ns1", "svc1"}, "", net::Protocol::kTcp}), "AQI2S6QIMU7PVVRP");
    EXPECT_EQ(chain_name(ChainKind::kCluster, hash_of(web)), "KUBE-SVC-67NZLRHBNDSAWJRO");
    EXPECT_EQ(chain_name(ChainKind::kLocal, "X"), "KUBE-SVL-X");
    EXPECT_EQ(chain_name(ChainKind::kExternal, "X"), "KUBE-EXT-X");
    EXPECT_EQ(chain_name(ChainKind::kFirewall, "X"), "KUBE-FW-X");
    EXPECT_EQ(endpoint_chains(web, {{ip("10.1.0.5"), 8080, false}, {ip("fd00:1::5"), 8080, true}}),
              (std::vector<std::string>{"KUBE-SEP-UZBLB3XX2HRLVOJ5", "KUBE-SEP-PKCKJTBTVV2QNIXP"}));
    EXPECT_EQ(endpoint_chains(web, {}), std::vector<std::string>{});
}

TEST(Names, WhoseChainsTheyAre) {
    for (const auto* ours : {"KUBE-SVC-67NZLRHBNDSAWJRO", "KUBE-SEP-X", "KUBE-FW-X", "KUBE-EXT-X", "KUBE-SVL-X"}) {
        EXPECT_TRUE(is_service_chain(ours)) << ours;
        EXPECT_TRUE(is_own_chain("nat", ours)) << ours;
        EXPECT_FALSE(is_own_chain("filter", ours)) << ours;
    }
    for (const auto* others : {"KUBE-SVC-", "KUBE-FIREWALL", "KUBE-SERVICES", "KUBE-ROUTER-INPUT", "KUBE-XLB-X", ""})
        EXPECT_FALSE(is_service_chain(others)) << others;
    EXPECT_TRUE(is_own_chain("nat", "KUBE-SERVICES"));
    EXPECT_TRUE(is_own_chain("mangle", "KUBE-PROXY-CANARY"));
    EXPECT_FALSE(is_own_chain("mangle", "KUBE-KUBELET-CANARY"));
    EXPECT_FALSE(is_own_chain("filter", "KUBE-FIREWALL")) << "the kubelet's too";
    EXPECT_FALSE(is_own_chain("nat", "KUBE-FORWARD"));
}

}  // namespace
}  // namespace ghostip::dataplane::iptables

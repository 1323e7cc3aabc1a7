// Beside kube-proxy: where both have a translation for a destination, kube-proxy's wins, so that a node that is given
// back to it without clean-up is served by it. What only one of the two knows, that one serves.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <fmt/format.h>

#include "neighbours/host.h"
#include "neighbours/kube_proxy_rules.h"

namespace ghostip::neighbours {
namespace {

using testnet::Place;

struct Case {
    net::Family family;
    std::string tool;  // how kube-proxy's rules get in
};

// Each Service has endpoints of its own for each of the two, so an answer tells who translated.
const std::vector<ServiceText> kOurs{
    {"both", "172.30.0.10", "1.2.3.10", 30010, {"10.180.0.1", "10.181.0.1"}},
    {"only-ours", "172.30.0.20", "1.2.3.20", 30020, {"10.180.0.2"}},
    {"empty-here", "172.30.0.50", "1.2.3.50", 30050, {}},
    {"empty-there", "172.30.0.40", "1.2.3.40", 30040, {"10.180.0.4"}},
    {"guarded-here", "172.30.0.70", "1.2.3.70", 30070, {"10.180.0.3"}, 80, 8080, "198.51.100.0/24"},
};
const std::vector<KubeService> kTheirs{
    {"both", "172.30.0.10", "1.2.3.10", 30010, {"10.180.0.9"}},
    {"only-theirs", "172.30.0.30", "1.2.3.30", 30030, {"10.180.0.8"}},
    {"empty-here", "172.30.0.50", "1.2.3.50", 30050, {"10.180.0.7"}},
    {"empty-there", "172.30.0.40", "1.2.3.40", 30040, {}},
    {"guarded-here", "172.30.0.70", "1.2.3.70", 30070, {"10.180.0.6"}},
    {"empty-everywhere", "172.30.0.60", "1.2.3.60", 30060, {}},
};

class BesideKubeProxy : public ::testing::TestWithParam<Case> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(host_, Host::create(GetParam().family));
        RETURN_IF_ERROR(host_->start_proxy(kOurs));
        return host_->load(GetParam().tool, GetParam().tool == "nft" ? kube_proxy_nftables(kTheirs, GetParam().family)
                                                                     : kube_proxy_iptables(kTheirs, GetParam().family));
    }
    [[nodiscard]] std::string at(std::string_view ipv4) const { return net::host_port(host_->address(ipv4), 8080); }

    // Cluster IP, external IP and node port of a Service, from everywhere.
    void expect_served(int number, std::string_view endpoint) {
        const auto cluster_ip = fmt::format("172.30.0.{}", number);
        const auto external_ip = fmt::format("1.2.3.{}", number);
        for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
            SCOPED_TRACE(fmt::format("Service {} {}", number, net::protocol_name(protocol)));
            EXPECT_EQ(experience(*host_, Place::kPods, cluster_ip, 80, protocol), at(endpoint) + " kept");
            EXPECT_EQ(experience(*host_, Place::kOutside, cluster_ip, 80, protocol), at(endpoint) + " masqueraded");
            EXPECT_EQ(experience(*host_, Place::kOutside, external_ip, 80, protocol), at(endpoint) + " masqueraded");
            EXPECT_EQ(experience(*host_, Place::kPods, external_ip, 80, protocol), at(endpoint) + " masqueraded");
            EXPECT_EQ(experience(*host_, Place::kOutside, "192.168.0.2", 30000 + number, protocol),
                      at(endpoint) + " masqueraded");
            EXPECT_EQ(experience(*host_, Place::kNode, cluster_ip, 80, protocol), at(endpoint) + " masqueraded");
        }
    }
    void expect_everywhere(int number, std::string_view what) {
        for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
            SCOPED_TRACE(fmt::format("Service {} {}", number, net::protocol_name(protocol)));
            EXPECT_EQ(experience(*host_, Place::kPods, fmt::format("172.30.0.{}", number), 80, protocol), what);
            EXPECT_EQ(experience(*host_, Place::kOutside, fmt::format("1.2.3.{}", number), 80, protocol), what);
            EXPECT_EQ(experience(*host_, Place::kOutside, "192.168.0.2", 30000 + number, protocol), what);
        }
    }

    std::unique_ptr<Host> host_;
};

TEST_P(BesideKubeProxy, ItsTranslationWins) {
    for (const bool proxy_runs : {true, false}) {
        SCOPED_TRACE(proxy_runs ? "both run" : "ours was killed and its rules stayed");
        if (!proxy_runs) host_->kill_proxy();
        expect_served(10, "10.180.0.9");
    }
}

TEST_P(BesideKubeProxy, EachServesWhatOnlyItKnows) {
    expect_served(20, "10.180.0.2");
    expect_served(30, "10.180.0.8");
}

TEST_P(BesideKubeProxy, ItsTranslationWinsOverOurRefusal) { expect_served(50, "10.180.0.7"); }

TEST_P(BesideKubeProxy, ItsTranslationWinsOverOurSourceRanges) { expect_served(70, "10.180.0.6"); }

TEST_P(BesideKubeProxy, BothRefusingIsARefusal) { expect_everywhere(60, "rejected"); }

// The limit of standing behind it: kube-proxy refuses in its filter chains, which see a packet after translation. Where
// it has no endpoints, or no such Service any more, and rules that we left still have some, those translate.
TEST_P(BesideKubeProxy, OurTranslationGoesBeforeItsRefusal) {
    EXPECT_EQ(experience(*host_, Place::kPods, "172.30.0.40", 80), at("10.180.0.4") + " kept");
    EXPECT_EQ(experience(*host_, Place::kOutside, "1.2.3.40", 80), at("10.180.0.4") + " masqueraded");
    EXPECT_EQ(experience(*host_, Place::kOutside, "192.168.0.2", 30040), at("10.180.0.4") + " masqueraded");
}

INSTANTIATE_TEST_SUITE_P(Formats, BesideKubeProxy,
                         ::testing::Values(Case{net::Family::kIpv4, "nft"}, Case{net::Family::kIpv6, "nft"},
                                           Case{net::Family::kIpv4, "iptables-nft"},
                                           Case{net::Family::kIpv6, "iptables-nft"},
                                           Case{net::Family::kIpv4, "iptables-legacy"},
                                           Case{net::Family::kIpv6, "iptables-legacy"}),
                         [](const auto& one) {
                             std::string name = one.param.tool + std::string(net::family_name(one.param.family));
                             std::erase(name, '-');
                             return name;
                         });

}  // namespace
}  // namespace ghostip::neighbours

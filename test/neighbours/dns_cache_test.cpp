// Beside NodeLocal DNSCache: an interface of the node carries the DNS Service's cluster IP, and packets to and from it
// are kept from connection tracking. Queries belong to the cache, also while the Service itself has no endpoint left.
#include <gtest/gtest.h>

#include <string>

#include "neighbours/host.h"

namespace ghostip::neighbours {
namespace {

using testnet::Place;

// As node-cache sets them up for each of its two addresses, but for its health check's port.
constexpr std::string_view kNoTrack = R"(*raw
-A PREROUTING -d ADDRESS -p udp -m udp --dport 53 -j NOTRACK
-A PREROUTING -d ADDRESS -p tcp -m tcp --dport 53 -j NOTRACK
-A OUTPUT -s ADDRESS -p tcp -m tcp --sport 53 -j NOTRACK
-A OUTPUT -s ADDRESS -p udp -m udp --sport 53 -j NOTRACK
-A OUTPUT -d ADDRESS -p udp -m udp --dport 53 -j NOTRACK
-A OUTPUT -d ADDRESS -p tcp -m tcp --dport 53 -j NOTRACK
COMMIT
*filter
-A INPUT -d ADDRESS -p udp -m udp --dport 53 -j ACCEPT
-A INPUT -d ADDRESS -p tcp -m tcp --dport 53 -j ACCEPT
-A OUTPUT -s ADDRESS -p udp -m udp --sport 53 -j ACCEPT
-A OUTPUT -s ADDRESS -p tcp -m tcp --sport 53 -j ACCEPT
COMMIT
)";
constexpr const char* kClusterIp = "172.30.0.53";
constexpr const char* kLinkLocal = "169.254.20.10";

class DnsCache : public ::testing::TestWithParam<net::Family> {
  protected:
    void start(const std::vector<std::string>& endpoints, const std::vector<std::string>& flags) {
        const auto ready = set_up(endpoints, flags);
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up(const std::vector<std::string>& endpoints, const std::vector<std::string>& flags) {
        ASSIGN_OR_RETURN(host_, Host::create(GetParam()));
        // Not every kernel has dummy interfaces; any that is up will do.
        const auto dummy = host_->node().run({"ip", "link", "add", "nodelocaldns", "type", "dummy"});
        if (!dummy || dummy->status != 0)
            RETURN_IF_ERROR(
                run({"ip", "link", "add", "nodelocaldns", "type", "veth", "peer", "name", "nodelocalpeer"}));
        RETURN_IF_ERROR(run({"ip", "link", "set", "nodelocaldns", "up"}));
        for (const auto* address : {kClusterIp, kLinkLocal}) {
            const auto own = host_->address(address);
            RETURN_IF_ERROR(run({"ip", "addr", "add", net::Prefix::host(own).text(), "dev", "nodelocaldns"}));
            std::string rules(kNoTrack);
            for (auto at = rules.find("ADDRESS"); at != std::string::npos; at = rules.find("ADDRESS"))
                rules.replace(at, std::string_view("ADDRESS").size(), address);
            RETURN_IF_ERROR(host_->load("iptables-nft", rules));
        }
        return host_->start_proxy({{"kube-dns", kClusterIp, "", 30053, endpoints, 53, 53},
                                   {"kube-dns-upstream", "172.30.0.54", "", 0, endpoints, 53, 53},
                                   {"web", "172.30.0.10", "1.2.3.10", 30010, {"10.180.0.1"}}},
                                  flags);
    }
    Result<void> run(const std::vector<std::string>& argv) const {
        const auto ran = host_->node().must_run(argv);
        if (!ran) return ran.error();
        return {};
    }
    void expect_cached() {
        for (const auto protocol : {net::Protocol::kUdp, net::Protocol::kTcp})
            for (const auto* to : {kClusterIp, kLinkLocal})
                for (const auto from : {Place::kPods, Place::kNode}) {
                    const auto probe = host_->probe(from, to, 53, protocol);
                    const auto outcome = host_->ask(probe);
                    EXPECT_TRUE(outcome.untranslated(probe) && outcome.place == Place::kNode &&
                                outcome.source == probe.source)
                        << probe.text() << ": " << outcome.text();
                }
    }
    [[nodiscard]] std::string at(std::string_view ipv4, std::uint16_t port) const {
        return net::host_port(host_->address(ipv4), port);
    }

    std::unique_ptr<Host> host_;
};

TEST_P(DnsCache, AnswersPodsAndNode) {
    for (const std::vector<std::string>& flags :
         {std::vector<std::string>{}, {"--nodeport-addresses", "0.0.0.0/0,::/0"}, {"--masquerade-all"}}) {
        start({"10.180.0.5"}, flags);
        if (HasFatalFailure()) return;
        expect_cached();
        // The cache's own way to the cluster's DNS, and everybody else's way to other Services.
        EXPECT_EQ(experience(*host_, Place::kNode, "172.30.0.54", 53, net::Protocol::kTcp),
                  at("10.180.0.5", 53) + " masqueraded");
        EXPECT_EQ(experience(*host_, Place::kOutside, "192.168.0.2", 30010), at("10.180.0.1", 8080) + " masqueraded");
    }
}

TEST_P(DnsCache, AnswersWhileTheServiceHasNoEndpoint) {
    start({}, {});
    if (HasFatalFailure()) return;
    expect_cached();
    EXPECT_EQ(experience(*host_, Place::kPods, "172.30.0.54", 53), "rejected");
}

INSTANTIATE_TEST_SUITE_P(Families, DnsCache, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::neighbours

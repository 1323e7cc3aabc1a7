// Beside Docker, or anybody else, whose forward chain drops by policy: a packet passes every base chain of a hook, so
// no rule of ours can bring back what another chain drops. Then the operator is told, in words that work when typed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "agent/neighbours.h"
#include "neighbours/host.h"

namespace ghostip::neighbours {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testnet::Place;

// What dockerd of the 20s sets up for its first bridge, and its policy.
constexpr std::string_view kDocker = R"(*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
)";

constexpr std::string_view kSomebodys = R"(table inet host {
    chain routed { type filter hook forward priority 0; policy drop; ct state established,related accept; }
}
)";

const std::vector<ServiceText> kServices{{"web", "172.30.0.10", "1.2.3.10", 30010, {"10.180.0.1"}}};

struct Case {
    net::Family family;
    std::string tool;
};

class PolicyDrop : public ::testing::TestWithParam<Case> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(host_, Host::create(GetParam().family));
        RETURN_IF_ERROR(host_->load(GetParam().tool, GetParam().tool == "nft" ? kSomebodys : kDocker));
        return host_->start_proxy(kServices);
    }
    // Pods by cluster IP, clients by external IP and node port.
    void expect_forwarded(const std::string& kept, const std::string& masqueraded) {
        for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
            EXPECT_EQ(experience(*host_, Place::kPods, "172.30.0.10", 80, protocol), kept);
            EXPECT_EQ(experience(*host_, Place::kOutside, "1.2.3.10", 80, protocol), masqueraded);
            EXPECT_EQ(experience(*host_, Place::kOutside, "192.168.0.2", 30010, protocol), masqueraded);
        }
    }
    void expect_served() { expect_forwarded(endpoint() + " kept", endpoint() + " masqueraded"); }
    [[nodiscard]] std::string endpoint() const { return net::host_port(host_->address("10.180.0.1"), 8080); }

    [[nodiscard]] std::vector<std::string> warnings() const {
        const auto inside = host_->node().enter();
        const auto facts = agent::neighbour_facts();
        EXPECT_TRUE(facts) << facts.error().message;
        return agent::neighbour_warnings(facts.value_or({}), std::array{GetParam().family});
    }

    std::unique_ptr<Host> host_;
};

// The command in the nth pair of backticks.
std::string command_in(const std::string& sentence, int number) {
    std::size_t at = 0;
    for (int quote = 0; quote < 2 * number; ++quote) at = sentence.find('`', at) + 1;
    const auto from = sentence.find('`', at) + 1;
    return sentence.substr(from, sentence.find('`', from) - from);
}

TEST_P(PolicyDrop, CannotBeOverridden) {
    expect_forwarded("dropped", "dropped");
    EXPECT_EQ(experience(*host_, Place::kNode, "172.30.0.10", 80), endpoint() + " masqueraded");
}

TEST_P(PolicyDrop, IsSaidWithACommandThatHelps) {
    const auto said = warnings();
    ASSERT_THAT(said, ::testing::SizeIs(1));
    EXPECT_THAT(said[0], HasSubstr(GetParam().tool == "nft"            ? "chain routed of table inet host"
                                   : GetParam().tool == "iptables-nft" ? "chain FORWARD of table ip"
                                                                       : "tables-legacy"));
    const auto ran = host_->node().must_run({"sh", "-c", command_in(said[0], 0)});
    ASSERT_TRUE(ran) << ran.error().message;
    expect_served();
    EXPECT_EQ(experience(*host_, Place::kPods, "203.0.113.77", 8080), "dropped") << "more than Services was let";
}

TEST_P(PolicyDrop, IsSaidByTheProxy) { EXPECT_TRUE(host_->proxy_says(warnings().front())) << host_->proxy_log(); }

TEST_P(PolicyDrop, IsOverWithThePolicy) {
    if (GetParam().tool == "nft") {
        ASSERT_TRUE(host_->load("nft", "chain inet host routed { policy accept; }"));
    } else {
        ASSERT_EQ(command_in(warnings().front(), 1).substr(command_in(warnings().front(), 1).find(' ')),
                  " -P FORWARD ACCEPT");
        ASSERT_TRUE(host_->node().must_run({"sh", "-c", command_in(warnings().front(), 1)}));
    }
    expect_served();
    EXPECT_THAT(warnings(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Owners, PolicyDrop,
                         ::testing::Values(Case{net::Family::kIpv4, "iptables-nft"},
                                           Case{net::Family::kIpv6, "iptables-nft"},
                                           Case{net::Family::kIpv4, "iptables-legacy"},
                                           Case{net::Family::kIpv6, "iptables-legacy"}, Case{net::Family::kIpv4, "nft"},
                                           Case{net::Family::kIpv6, "nft"}),
                         [](const auto& one) {
                             return (one.param.tool == "nft"            ? "Somebody"
                                     : one.param.tool == "iptables-nft" ? "Docker"
                                                                        : "DockerLegacy") +
                                    std::string(net::family_name(one.param.family));
                         });

}  // namespace
}  // namespace ghostip::neighbours

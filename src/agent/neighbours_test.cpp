#include "agent/neighbours.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <utility>

namespace ghostip::agent {
namespace {

using kernel::nft::Hook;
using kernel::nft::OtherChain;
using kernel::nft::Policy;
using kernel::nft::TableFamily;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::array kBoth{net::Family::kIpv4, net::Family::kIpv6};
constexpr std::array kIpv4Only{net::Family::kIpv4};

const OtherChain kDocker{TableFamily::kIp, "filter", "FORWARD", Hook::kForward, 0, Policy::kDrop};
const OtherChain kDocker6{TableFamily::kIp6, "filter", "FORWARD", Hook::kForward, 0, Policy::kDrop};
const OtherChain kOwn{TableFamily::kInet, "host", "fwd", Hook::kForward, 0, Policy::kDrop};
const OtherChain kOurs{TableFamily::kIp, "ghostip", "filter-forward", Hook::kForward, 1, Policy::kDrop};
const OtherChain kKubeProxy{TableFamily::kIp, "kube-proxy", "nat-prerouting", Hook::kPrerouting, -100, Policy::kAccept};

std::vector<std::string> warnings(std::vector<OtherChain> chains) {
    return neighbour_warnings({std::move(chains), {}}, kBoth);
}

TEST(Neighbours, SaysThatForwardedTrafficIsDropped) {
    EXPECT_THAT(warnings({kDocker}),
                ElementsAre(AllOf(HasSubstr("chain FORWARD of table ip filter (Docker"),
                                  HasSubstr("`iptables -A FORWARD -m conntrack --ctstate DNAT -j ACCEPT`"),
                                  HasSubstr("`iptables -P FORWARD ACCEPT`"))));
    EXPECT_THAT(warnings({kDocker6}), ElementsAre(HasSubstr("`ip6tables -A FORWARD ")));
    EXPECT_THAT(warnings({kOwn}), ElementsAre(AllOf(HasSubstr("`nft add rule inet host fwd ct status dnat accept`"),
                                                    Not(HasSubstr("iptables")))));
}

TEST(Neighbours, NamesTheProgramThatFindsTheChain) {
    EXPECT_THAT(
        neighbour_warnings({{}, {net::Family::kIpv4, net::Family::kIpv6}}, kBoth),
        ElementsAre(AllOf(HasSubstr("chain FORWARD of ip6tables-legacy"), HasSubstr("`ip6tables-legacy -A FORWARD ")),
                    AllOf(HasSubstr("chain FORWARD of iptables-legacy"), HasSubstr("`iptables-legacy -A FORWARD "))));
}

TEST(Neighbours, SaysThatKubeProxyIsThereToo) {
    auto another = kKubeProxy;
    another.name = "filter-forward";
    another.hook = Hook::kForward;
    EXPECT_THAT(warnings({kKubeProxy, another}), ElementsAre(HasSubstr("`nft delete table ip kube-proxy`")));
}

TEST(Neighbours, HasNothingToSayOfOthers) {
    auto accepts = kDocker;
    accepts.policy = Policy::kAccept;
    auto input = kDocker;
    input.hook = Hook::kInput;
    EXPECT_THAT(warnings({}), IsEmpty());
    EXPECT_THAT(warnings({accepts, input, kOurs}), IsEmpty());
    EXPECT_THAT(neighbour_warnings({{kDocker6}, {net::Family::kIpv6}}, kIpv4Only), IsEmpty());
    EXPECT_THAT(neighbour_warnings({{kOwn}, {}}, kIpv4Only), ::testing::SizeIs(1));
}

TEST(Neighbours, SaysTheSameInTheSameOrder) {
    EXPECT_EQ(warnings({kDocker, kOwn, kDocker6}), warnings({kDocker6, kDocker, kOwn, kOwn}));
}

}  // namespace
}  // namespace ghostip::agent

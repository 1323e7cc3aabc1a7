// What kube-proxy left goes, and nothing else changes: neither by `ghostip cleanup --all` nor when a node is taken
// over, which no connection may notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <array>
#include <regex>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "neighbours/host.h"
#include "neighbours/kube_proxy_rules.h"
#include "neighbours/stream.h"
#include "support/twin.h"

namespace ghostip::neighbours {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testnet::Namespace;
using testnet::Place;

// The kubelet, a network policy, Docker, and a CNI plugin that marks with kube-proxy's own chain.
constexpr std::string_view kOthers = R"(*mangle
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
*nat
:DOCKER - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-MARK-DROP - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
COMMIT
*filter
:DOCKER-USER - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-NWPLCY-DEFAULT - [0:0]
:KUBE-POD-FW-AQI2S6QIMU7PVVRP - [0:0]
:KUBE-ROUTER-FORWARD - [0:0]
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kube-router netpol - TEMCG2JMHZYE7H7T" -j KUBE-ROUTER-FORWARD
-A FORWARD -j DOCKER-USER
-A OUTPUT -j KUBE-FIREWALL
-A DOCKER-USER -j RETURN
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-ROUTER-FORWARD -s 10.9.9.9/32 -j KUBE-POD-FW-AQI2S6QIMU7PVVRP
-A KUBE-POD-FW-AQI2S6QIMU7PVVRP -j KUBE-NWPLCY-DEFAULT
COMMIT
)";
constexpr std::string_view kForeignTable = R"(table inet host {
    chain KUBE-SERVICES { tcp dport 1 accept; }
    chain routed { type filter hook forward priority 0; policy accept; jump KUBE-SERVICES; }
}
table ip other-proxy {
    map services { type ipv4_addr : verdict; elements = { 10.96.0.1 : accept } }
}
)";

const std::vector<KubeService> kServices{
    {"web", "172.30.0.10", "1.2.3.10", 30010, {"10.180.0.1", "10.180.0.2"}},
    {"empty", "172.30.0.20", "1.2.3.20", 30020, {}},
};
const std::vector<std::string> kTools{"iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"};

net::Family family_of(const std::string& tool) {
    return tool.starts_with("ip6") ? net::Family::kIpv6 : net::Family::kIpv4;
}

class CleanUp : public ::testing::Test {
  protected:
    void SetUp() override {
        auto made = Namespace::create();
        ASSERT_TRUE(made) << made.error().message;
        node_ = std::make_unique<Namespace>(std::move(*made));
    }
    std::string must(const std::vector<std::string>& argv, std::string_view input = {}) {
        auto done = node_->must_run(argv, input);
        EXPECT_TRUE(done) << done.error().message;
        return std::move(done).value_or("");
    }
    void load(const std::string& tool, std::string_view rules) {
        must({tool + "-restore", "--noflush"},
             family_of(tool) == net::Family::kIpv4 ? std::string(rules) : testnet::twin_text(rules));
    }
    void load_kube_proxy() {
        for (const auto& tool : kTools) {
            must({tool + "-restore", "--noflush"}, kube_proxy_iptables(kServices, family_of(tool)));
            must({tool + "-restore", "--noflush"}, "*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n");
        }
        for (const auto family : net::kFamilies) must({"nft", "-f", "-"}, kube_proxy_nftables(kServices, family));
    }
    // All rules of everybody, but for what counts packets and tells times.
    std::string rules() {
        std::string all;
        for (const auto& tool : kTools) all += tool + "\n" + must({tool + "-save"});
        all += must({"nft", "list", "table", "inet", "host"}) + must({"nft", "list", "table", "ip", "other-proxy"});
        all = std::regex_replace(all, std::regex("\\[[0-9]+:[0-9]+\\]"), "");
        return std::regex_replace(all, std::regex("# [^\n]*\n"), "");
    }
    testnet::Output cleanup() {
        const auto done = node_->run({GHOSTIP_BINARY, "cleanup", "--all"});
        EXPECT_TRUE(done) << done.error().message;
        return done.value_or({});
    }

    std::unique_ptr<Namespace> node_;
};

// `ipset` itself is not needed for the product and so not for this.
int create_set(const Namespace& where, const std::string& name) {
    const auto inside = where.enter();
    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
    alignas(nlmsghdr) std::array<char, 512> buffer{};
    auto* request = mnl_nlmsg_put_header(buffer.data());
    request->nlmsg_type = NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_CREATE;
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    auto* netfilter = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(nfgenmsg)));
    netfilter->nfgen_family = AF_INET;
    mnl_attr_put_u8(request, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN);
    mnl_attr_put_strz(request, IPSET_ATTR_SETNAME, name.c_str());
    mnl_attr_put_strz(request, IPSET_ATTR_TYPENAME, "hash:ip,port");
    mnl_attr_put_u8(request, IPSET_ATTR_REVISION, 1);
    mnl_attr_put_u8(request, IPSET_ATTR_FAMILY, AF_INET);
    mnl_attr_nest_end(request, mnl_attr_nest_start(request, IPSET_ATTR_DATA));
    if (::send(socket.get(), request, request->nlmsg_len, 0) < 0) return errno;
    const auto got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    const auto* answer = reinterpret_cast<const nlmsghdr*>(buffer.data());
    if (got < static_cast<ssize_t>(sizeof(nlmsghdr) + sizeof(int)) || answer->nlmsg_type != NLMSG_ERROR) return EBADMSG;
    return -*static_cast<const int*>(mnl_nlmsg_get_payload(answer));
}

TEST_F(CleanUp, TakesKubeProxysRulesAndNoOthers) {
    for (const auto& tool : kTools) load(tool, kOthers);
    must({"nft", "-f", "-"}, kForeignTable);
    const auto before = rules();
    ASSERT_THAT(before, HasSubstr("-A KUBE-POD-FW-AQI2S6QIMU7PVVRP -j KUBE-NWPLCY-DEFAULT"));
    load_kube_proxy();
    ASSERT_NE(rules(), before);
    const auto done = cleanup();
    EXPECT_EQ(done.status, 0) << done.err;
    EXPECT_EQ(rules(), before) << done.err;
    EXPECT_THAT(must({"nft", "list", "tables"}), Not(HasSubstr("kube-proxy"))) << done.err;
    const auto again = cleanup();
    EXPECT_EQ(again.status, 0) << again.err;
    EXPECT_EQ(again.err, "") << "nothing was left to do or to say";
}

TEST_F(CleanUp, WhatSomebodysRuleNeedsStays) {
    load_kube_proxy();
    load("iptables-nft", "*nat\n:CNI-HOSTPORT-SETMARK - [0:0]\n-A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ\nCOMMIT\n");
    const auto done = cleanup();
    EXPECT_EQ(done.status, 0) << done.err;
    const auto nat = must({"iptables-nft-save", "-t", "nat"});
    EXPECT_THAT(nat, HasSubstr("-A CNI-HOSTPORT-SETMARK -j KUBE-MARK-MASQ"));
    EXPECT_THAT(nat, HasSubstr("-A KUBE-MARK-MASQ -j MARK"));
    EXPECT_THAT(nat, HasSubstr("-j KUBE-POSTROUTING"));
    EXPECT_THAT(nat, HasSubstr("-A KUBE-POSTROUTING -m comment"));
    EXPECT_THAT(nat, Not(HasSubstr("KUBE-SERVICES")));
    EXPECT_THAT(done.err,
                HasSubstr("KUBE-MARK-MASQ stays, because a rule of chain CNI-HOSTPORT-SETMARK leads into it"));
}

TEST_F(CleanUp, SetsAndTheDeviceOfIpvs) {
    // A kernel without IPVS may lack such devices too.
    const auto device = node_->run({"ip", "link", "add", "kube-ipvs0", "type", "dummy"});
    ASSERT_TRUE(device) << device.error().message;
    if (device->status == 0) must({"ip", "link", "add", "dummy7", "type", "dummy"});
    for (const auto* name : {"KUBE-CLUSTER-IP", "KUBE-6-LOAD-BALANCER-SOURCE-CID", "KUBE-ROUTER-PODS"})
        ASSERT_EQ(create_set(*node_, name), 0) << name;
    const auto done = cleanup();
    EXPECT_EQ(done.status, 0) << done.err;
    const auto links = must({"ip", "-o", "link"});
    EXPECT_THAT(links, Not(HasSubstr("kube-ipvs0")));
    EXPECT_EQ(links.find("dummy7") != std::string::npos, device->status == 0);
    EXPECT_THAT(done.err, HasSubstr("2 sets of ip_set"));
    EXPECT_EQ(create_set(*node_, "KUBE-CLUSTER-IP"), 0) << "it was gone";
    EXPECT_NE(create_set(*node_, "KUBE-ROUTER-PODS"), 0) << "it is still there";
}

TEST_F(CleanUp, ADeviceOfAnotherKindKeepsItsName) {
    must({"ip", "link", "add", "kube-ipvs0", "type", "bridge"});
    EXPECT_EQ(cleanup().status, 0);
    EXPECT_THAT(must({"ip", "-o", "link"}), HasSubstr("kube-ipvs0"));
}

struct From {
    net::Family family;
    std::string tool;
};

class TakeOver : public ::testing::TestWithParam<From> {};

// A connection through kube-proxy's rules outlives them, and at every moment new ones are answered.
TEST_P(TakeOver, NoConnectionNotices) {
    auto made = Host::create(GetParam().family);
    ASSERT_TRUE(made) << made.error().message;
    auto& host = **made;
    const auto& tool = GetParam().tool;
    const std::vector<KubeService> theirs{{"web", "172.30.0.10", "", 0, {"10.180.0.1"}, 80, 9000}};
    const auto loaded = host.load(tool, tool == "nft" ? kube_proxy_nftables(theirs, GetParam().family)
                                                      : kube_proxy_iptables(theirs, GetParam().family));
    ASSERT_TRUE(loaded) << loaded.error().message;
    const auto server = EchoServer::start(host.topology().at(Place::kPods), GetParam().family, 9000);
    ASSERT_TRUE(server) << server.error().message;
    Stream stream(host.topology().at(Place::kOutside), host.address("203.0.113.10"), host.address("172.30.0.10"), 80);
    ASSERT_TRUE(stream.flows());
    const auto started =
        host.start_proxy({{"web", "172.30.0.10", "", 0, {"10.180.0.1"}, 80, 9000}}, {"--remove-kube-proxy-rules"});
    ASSERT_TRUE(started) << started.error().message;
    EXPECT_TRUE(host.proxy_says(tool == "nft" ? "removed: table" : "jumps of")) << host.proxy_log();
    EXPECT_TRUE(stream.flows(20)) << host.proxy_log();
    EXPECT_EQ(stream.end(), "");
    const auto left = host.node().must_run({"nft", "list", "ruleset"});
    ASSERT_TRUE(left) << left.error().message;
    EXPECT_THAT(*left, Not(HasSubstr("KUBE-SERVICES")));
    EXPECT_THAT(*left, Not(HasSubstr("table ip kube-proxy")));
    EXPECT_THAT(*left, HasSubstr("ghostip"));
}

INSTANTIATE_TEST_SUITE_P(Formats, TakeOver,
                         ::testing::Values(From{net::Family::kIpv4, "nft"}, From{net::Family::kIpv6, "nft"},
                                           From{net::Family::kIpv4, "iptables-nft"},
                                           From{net::Family::kIpv6, "iptables-legacy"}),
                         [](const auto& one) {
                             std::string name = one.param.tool + std::string(net::family_name(one.param.family));
                             std::erase(name, '-');
                             return name;
                         });

}  // namespace
}  // namespace ghostip::neighbours

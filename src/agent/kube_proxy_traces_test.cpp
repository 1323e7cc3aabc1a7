#include "agent/kube_proxy_traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "agent/iptables_traces.h"

namespace ghostip::agent {
namespace {

using kernel::nft::TableFamily;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr const char* kNat =
    "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n"
    "-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n";
constexpr const char* kEmptyNat = "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n";

// A node in memory: which programs there are and what they say, what the kernel has.
class FakeHost : public TraceHost {
  public:
    std::set<std::string> programs;
    std::map<std::string, std::string> saves;  // by program
    int refuse_restores = 0;
    std::set<std::pair<net::Family, std::string>> nft_tables;
    std::vector<kernel::nft::ChainName> chains;
    std::map<net::Family, std::vector<std::string>> legacy;
    std::optional<kernel::ipvs::Servers> servers;
    bool device = false;
    bool has_sets = false;
    std::set<std::string> sets;
    int busy = 0;  // so many destroy_set() fail

    std::vector<std::string> ran;
    std::map<std::string, std::string> restored;  // by program: what it was given last
    bool flushed = false;
    int pauses = 0;

    Result<Finished> run(const Program& program) override {
        const auto& name = program.argv[0];
        if (!programs.contains(name)) return errno_error(ENOENT, "run " + name);
        if (program.argv.size() > 1 && program.argv[1] == "--version")
            return Finished{0, name.find("nft") != std::string::npos ? "v1.8.9 (nf_tables)" : "v1.8.9 (legacy)", ""};
        ran.push_back(name);
        if (name.ends_with("save")) return Finished{0, saves[name], ""};
        if (refuse_restores-- > 0) return Finished{4, "", "something else\niptables-restore: line 3 failed\n"};
        auto& save = saves[name.substr(0, name.size() - 7) + "save"];
        save = kEmptyNat;
        restored[name] = program.input;
        return Finished{};
    }
    Result<bool> delete_nft_table(net::Family family, const std::string& table) override {
        return nft_tables.erase({family, table}) == 1;
    }
    Result<std::vector<kernel::nft::ChainName>> nft_chains() override { return chains; }
    std::vector<std::string> legacy_tables(net::Family family) override { return legacy[family]; }
    Result<std::optional<kernel::ipvs::Servers>> ipvs_servers() override { return servers; }
    Result<void> delete_ipvs_servers() override {
        flushed = true;
        return {};
    }
    Result<bool> dummy_device_exists(const std::string& name) override { return device && name == "kube-ipvs0"; }
    Result<bool> delete_dummy_device(const std::string&) override { return std::exchange(device, false); }
    bool sets_available() override { return has_sets; }
    Result<bool> set_exists(const std::string& name) override { return sets.contains(name); }
    Result<bool> destroy_set(const std::string& name) override {
        if (sets.contains(name) && busy-- > 0) return errno_error(EBUSY, "destroy set " + name);
        return sets.erase(name) == 1;
    }
    void pause(std::chrono::milliseconds) override { ++pauses; }
};

TEST(KubeProxyTraces, ACleanHostRunsNothing) {
    FakeHost host;
    host.chains = {{TableFamily::kIp, "nat", "DOCKER"}, {TableFamily::kInet, "nat", "KUBE-SERVICES"}};
    const auto removed = remove_traces(host, {});
    EXPECT_THAT(removed.removed, IsEmpty());
    EXPECT_THAT(removed.failed, IsEmpty()) << "no program is there, none is needed";
    EXPECT_THAT(host.ran, IsEmpty());
}

TEST(KubeProxyTraces, EachVariantWithItsOwnProgram) {
    FakeHost host;
    host.programs = {"iptables-nft-save", "iptables-nft-restore", "ip6tables-legacy-save", "ip6tables-legacy-restore"};
    host.saves = {{"iptables-nft-save", kNat}, {"ip6tables-legacy-save", kNat}};
    host.chains = {{TableFamily::kIp, "nat", "KUBE-SERVICES"}};
    host.legacy[net::Family::kIpv6] = {"nat"};
    host.nft_tables = {{net::Family::kIpv6, "kube-proxy"}, {net::Family::kIpv6, "ghostip"}};
    const auto removed = remove_traces(host, {});
    EXPECT_THAT(removed.removed, ElementsAre("table ip6 kube-proxy", "1 chains and 1 jumps of iptables-nft",
                                             "1 chains and 1 jumps of ip6tables-legacy"));
    EXPECT_THAT(removed.failed, IsEmpty());
    EXPECT_EQ(host.nft_tables.size(), 1U) << "its own cleanup removes that";
}

TEST(KubeProxyTraces, MissingProgramIsSaidWhereItsRulesAre) {
    FakeHost host;
    host.chains = {{TableFamily::kIp6, "nat", "KUBE-SVC-XPGD46QRK7WJZT7O"}};
    const auto removed = remove_traces(host, {});
    ASSERT_EQ(removed.failed.size(), 1U);
    EXPECT_THAT(removed.failed[0].message,
                HasSubstr("rules of kube-proxy in ip6tables-nft stay: run ip6tables-nft-save"));
}

TEST(KubeProxyTraces, PlainNameServesItsOwnVariantOnly) {
    FakeHost host;
    host.programs = {"iptables-save", "iptables-restore"};
    host.saves = {{"iptables-save", kNat}};
    host.chains = {{TableFamily::kIp, "nat", "KUBE-SERVICES"}};
    host.legacy[net::Family::kIpv4] = {"nat"};
    const auto removed = remove_traces(host, {});
    EXPECT_THAT(removed.removed, ElementsAre("1 chains and 1 jumps of iptables-legacy"));
    EXPECT_EQ(removed.failed.size(), 1U) << "the other variant has no program";
}

TEST(KubeProxyTraces, ARefusedRestoreIsTriedAgainWithFreshRules) {
    FakeHost host;
    host.programs = {"iptables-nft-save", "iptables-nft-restore"};
    host.saves = {{"iptables-nft-save", kNat}};
    host.chains = {{TableFamily::kIp, "nat", "KUBE-SERVICES"}};
    host.refuse_restores = 2;
    EXPECT_THAT(remove_traces(host, {}).failed, IsEmpty());
    EXPECT_EQ(std::count(host.ran.begin(), host.ran.end(), "iptables-nft-save"), 3);
    host.saves = {{"iptables-nft-save", kNat}};
    host.refuse_restores = 3;
    const auto removed = remove_traces(host, {});
    ASSERT_EQ(removed.failed.size(), 1U);
    EXPECT_THAT(removed.failed[0].message, HasSubstr("line 3 failed"));
}

// Everything that any mode can have left, in both variants.
constexpr const char* kEveryMode =
    "*mangle\n:PREROUTING ACCEPT [0:0]\n:GHOSTIP-RULES - [0:0]\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n"
    "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-LOAD-BALANCER - [0:0]\n:KUBE-SVC-A - [0:0]\n"
    "-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -d 10.96.0.7/32 -j KUBE-SVC-A\nCOMMIT\n"
    "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-FORWARD - [0:0]\n:KUBE-IPVS-FILTER - [0:0]\n-A INPUT -j KUBE-IPVS-FILTER\n"
    "COMMIT\n";

FakeHost host_after_every_mode() {
    FakeHost host;
    for (const std::string variant : {"nft", "legacy"}) {
        for (const std::string what : {"save", "restore"}) host.programs.insert("iptables-" + variant + "-" + what);
        host.saves["iptables-" + variant + "-save"] = kEveryMode;
    }
    host.chains = {{TableFamily::kIp, "nat", "KUBE-SERVICES"},
                   {TableFamily::kIp, "nat", "KUBE-LOAD-BALANCER"},
                   {TableFamily::kIp, "nat", "KUBE-SVC-A"},
                   {TableFamily::kIp, "mangle", std::string(kOwnChain)}};
    host.legacy[net::Family::kIpv4] = {"mangle", "nat", "filter"};
    for (const auto family : net::kFamilies)
        for (const std::string table : {"kube-proxy", "ghostip"}) host.nft_tables.insert({family, table});
    host.device = true;
    host.has_sets = true;
    host.sets = {"KUBE-CLUSTER-IP"};
    return host;
}

// What goes when one mode has taken over from all others: what each leaves in place is what serves now.
TEST(KubeProxyTraces, WhatServesNowStays) {
    struct Case {
        const char* name;
        TraceScope scope;
        std::vector<std::string> removed;
    };
    const std::vector<std::string> ipvs{"device kube-ipvs0", "1 sets of ip_set"};
    const auto with_ipvs = [&](std::vector<std::string> others) {
        others.insert(others.end(), ipvs.begin(), ipvs.end());
        return others;
    };
    const std::vector<Case> cases{
        {"nftables",
         {Whose::kEverybodys, "nftables", ""},
         with_ipvs({"table ip kube-proxy", "table ip6 kube-proxy", "7 chains and 2 jumps of iptables-nft",
                    "7 chains and 2 jumps of iptables-legacy"})},
        {"iptables-nft",
         {Whose::kEverybodys, "iptables", "nft"},
         with_ipvs({"table ip kube-proxy", "table ip ghostip", "table ip6 kube-proxy", "table ip6 ghostip",
                    "2 chains and 1 jumps of iptables-nft", "7 chains and 2 jumps of iptables-legacy"})},
        {"iptables-legacy",
         {Whose::kEverybodys, "iptables", "legacy"},
         with_ipvs({"table ip kube-proxy", "table ip ghostip", "table ip6 kube-proxy", "table ip6 ghostip",
                    "7 chains and 2 jumps of iptables-nft", "2 chains and 1 jumps of iptables-legacy"})},
        {"a variant that is not known",
         {Whose::kEverybodys, "iptables", ""},
         with_ipvs({"table ip kube-proxy", "table ip ghostip", "table ip6 kube-proxy", "table ip6 ghostip"})},
        {"nftables after ours alone",
         {Whose::kOurs, "nftables", ""},
         {"7 chains and 2 jumps of iptables-nft", "7 chains and 2 jumps of iptables-legacy"}},
        {"iptables-nft after ours alone",
         {Whose::kOurs, "iptables", "nft"},
         {"table ip ghostip", "table ip6 ghostip", "2 chains and 1 jumps of iptables-nft",
          "7 chains and 2 jumps of iptables-legacy"}},
        {"iptables-legacy after ours alone",
         {Whose::kOurs, "iptables", "legacy"},
         {"table ip ghostip", "table ip6 ghostip", "7 chains and 2 jumps of iptables-nft",
          "2 chains and 1 jumps of iptables-legacy"}},
        {"ipvs",
         {Whose::kEverybodys, "ipvs", "nft"},
         {"table ip kube-proxy", "table ip ghostip", "table ip6 kube-proxy", "table ip6 ghostip",
          "1 chains and 0 jumps of iptables-nft", "7 chains and 2 jumps of iptables-legacy"}},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.name);
        auto host = host_after_every_mode();
        const auto removed = remove_traces(host, c.scope);
        EXPECT_EQ(removed.removed, c.removed);
        EXPECT_THAT(removed.failed, IsEmpty());
        const bool iptables = c.scope.mode != "nftables";
        EXPECT_EQ(host.nft_tables.contains({net::Family::kIpv4, "ghostip"}), !iptables);
        if (iptables && !c.scope.variant.empty()) {
            const auto& given = host.restored["iptables-" + c.scope.variant + "-restore"];
            for (const auto* chain : {"KUBE-SERVICES", "KUBE-SVC-A", "KUBE-FORWARD", "GHOSTIP-RULES"})
                EXPECT_EQ(given.find(chain), std::string::npos) << chain << " serves";
        }
        // Connections go on: nothing asks for conntrack's table.
        for (const auto& program : host.ran) EXPECT_THAT(program, HasSubstr("tables-"));
    }
}

// Beside manifests somebody may be trying ghostip out on a node that kube-proxy serves.
TEST(KubeProxyTraces, RulesWithoutOurMarkAreNotOurs) {
    auto host = host_after_every_mode();
    std::string text = kEveryMode;
    text.erase(text.find(":GHOSTIP-RULES"), std::string_view(":GHOSTIP-RULES - [0:0]\n").size());
    for (auto& [program, save] : host.saves) save = text;
    host.chains.pop_back();
    for (const auto* mode : {"nftables", "iptables"}) {
        auto one = host;
        const auto removed = remove_traces(one, {Whose::kOurs, mode, "nft"});
        EXPECT_THAT(one.restored, IsEmpty()) << mode;
        EXPECT_TRUE(one.nft_tables.contains({net::Family::kIpv4, "kube-proxy"}));
        EXPECT_TRUE(one.device);
        EXPECT_EQ(one.sets.size(), 1U);
    }
    host.programs.clear();
    EXPECT_THAT(remove_traces(host, {Whose::kOurs, "nftables", ""}).failed, IsEmpty())
        << "without the programs there are no rules of ours";
}

TEST(KubeProxyTraces, IpvsStaysWhereItServes) {
    FakeHost host;
    host.device = host.has_sets = true;
    host.sets = {"KUBE-CLUSTER-IP", "GHOSTIP-NODE-PORTS"};
    host.servers = kernel::ipvs::Servers{2, 0};
    for (const auto whose : {Whose::kEverybodys, Whose::kOurs})
        EXPECT_THAT(remove_traces(host, {.whose = whose, .mode = "ipvs", .variant = "nft"}).removed, IsEmpty());
    EXPECT_FALSE(host.flushed);
}

TEST(KubeProxyTraces, OfIpvsOnlyOursGoesWhereThatIsAsked) {
    FakeHost host;
    host.device = host.has_sets = true;
    host.sets = {"KUBE-CLUSTER-IP"};
    host.servers = kernel::ipvs::Servers{2, 0};
    EXPECT_THAT(remove_traces(host, {.whose = Whose::kOurs, .mode = "nftables"}).removed, IsEmpty());
    host.sets = {"KUBE-CLUSTER-IP", "GHOSTIP-NODE-PORTS", "GHOSTIP-6-NODE-PORTS"};
    EXPECT_THAT(remove_traces(host, {.whose = Whose::kOurs, .mode = "nftables"}).removed,
                ElementsAre("2 virtual servers of IPVS", "device kube-ipvs0", "3 sets of ip_set"));
    // Of a node that has IPv6 alone.
    host.device = true;
    host.servers = kernel::ipvs::Servers{1, 0};
    host.sets = {"KUBE-6-CLUSTER-IP", "GHOSTIP-6-NODE-PORTS"};
    EXPECT_THAT(remove_traces(host, {.whose = Whose::kOurs, .mode = "nftables"}).removed,
                ElementsAre("1 virtual servers of IPVS", "device kube-ipvs0", "2 sets of ip_set"));
}

TEST(KubeProxyTraces, IpvsIsLeftWhileItCarriesConnections) {
    FakeHost host;
    host.device = host.has_sets = true;
    host.sets = {"KUBE-CLUSTER-IP"};
    host.servers = kernel::ipvs::Servers{2, 5};
    EXPECT_EQ(remove_traces(host, {.ipvs = Ipvs::kIdle}).ipvs_connections, 5U);
    EXPECT_FALSE(host.flushed);
    EXPECT_TRUE(host.device) << "its addresses bring the packets in";
    EXPECT_EQ(host.sets.size(), 1U) << "they tell whose the servers are";
    host.servers = kernel::ipvs::Servers{2, 0};
    EXPECT_THAT(remove_traces(host, {.ipvs = Ipvs::kIdle}).removed,
                ElementsAre("2 virtual servers of IPVS", "device kube-ipvs0", "1 sets of ip_set"));
    EXPECT_TRUE(host.flushed);
}

TEST(KubeProxyTraces, SetsByTheirNamesOfBothFamilies) {
    FakeHost host;
    host.has_sets = true;
    host.sets = {"KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP", "KUBE-6-LOAD-BALANCER-SOURCE-CID", "KUBE-NWPLCY", "mine"};
    host.busy = 3;
    const auto removed = remove_traces(host, {});
    EXPECT_THAT(removed.removed, ElementsAre("3 sets of ip_set"));
    EXPECT_THAT(host.sets, ElementsAre("KUBE-NWPLCY", "mine"));
    EXPECT_EQ(host.pauses, 3);
    host.sets.insert("KUBE-CLUSTER-IP");
    host.busy = 1000;
    host.sets.insert("GHOSTIP-6-NODE-PORTS");
    EXPECT_THAT(remove_traces(host, {}).failed.size(), 1U) << "a rule of somebody else uses it";
    EXPECT_TRUE(host.sets.contains("GHOSTIP-6-NODE-PORTS")) << "it says whose the other one is";
    host.busy = 0;
    host.sets.insert("GHOSTIP-6-WIDER");
    EXPECT_THAT(remove_traces(host, {}).removed, ElementsAre("3 sets of ip_set"));
}

}  // namespace
}  // namespace ghostip::agent

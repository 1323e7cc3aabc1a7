#include "agent/kube_proxy_traces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

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
    std::set<net::Family> nft_tables;
    std::vector<kernel::nft::ChainName> chains;
    std::map<net::Family, std::vector<std::string>> legacy;
    std::optional<kernel::ipvs::Servers> servers;
    bool device = false;
    bool has_sets = false;
    std::set<std::string> sets;
    int busy = 0;  // so many destroy_set() fail

    std::vector<std::string> ran;
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
        return Finished{};
    }
    Result<bool> delete_nft_table(net::Family family, const std::string&) override {
        return nft_tables.erase(family) == 1;
    }
    Result<std::vector<kernel::nft::ChainName>> nft_chains() override { return chains; }
    std::vector<std::string> legacy_tables(net::Family family) override { return legacy[family]; }
    Result<std::optional<kernel::ipvs::Servers>> ipvs_servers() override { return servers; }
    Result<void> flush_ipvs_servers() override {
        flushed = true;
        return {};
    }
    Result<bool> dummy_device_exists(const std::string& name) override { return device && name == "kube-ipvs0"; }
    Result<bool> delete_dummy_device(const std::string&) override { return std::exchange(device, false); }
    bool sets_available() override { return has_sets; }
    Result<bool> destroy_set(const std::string& name) override {
        if (sets.contains(name) && busy-- > 0) return errno_error(EBUSY, "destroy set " + name);
        return sets.erase(name) == 1;
    }
    void pause(std::chrono::milliseconds) override { ++pauses; }
};

TEST(KubeProxyTraces, ACleanHostRunsNothing) {
    FakeHost host;
    host.chains = {{TableFamily::kIp, "nat", "DOCKER"}, {TableFamily::kInet, "nat", "KUBE-SERVICES"}};
    const auto removed = remove_kube_proxy_traces(host, Ipvs::kNow);
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
    host.nft_tables = {net::Family::kIpv6};
    const auto removed = remove_kube_proxy_traces(host, Ipvs::kNow);
    EXPECT_THAT(removed.removed, ElementsAre("table ip6 kube-proxy", "1 chains and 1 jumps of iptables-nft",
                                             "1 chains and 1 jumps of ip6tables-legacy"));
    EXPECT_THAT(removed.failed, IsEmpty());
}

TEST(KubeProxyTraces, MissingProgramIsSaidWhereItsRulesAre) {
    FakeHost host;
    host.chains = {{TableFamily::kIp6, "nat", "KUBE-SVC-XPGD46QRK7WJZT7O"}};
    const auto removed = remove_kube_proxy_traces(host, Ipvs::kNow);
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
    const auto removed = remove_kube_proxy_traces(host, Ipvs::kNow);
    EXPECT_THAT(removed.removed, ElementsAre("1 chains and 1 jumps of iptables-legacy"));
    EXPECT_EQ(removed.failed.size(), 1U) << "the other variant has no program";
}

TEST(KubeProxyTraces, ARefusedRestoreIsTriedAgainWithFreshRules) {
    FakeHost host;
    host.programs = {"iptables-nft-save", "iptables-nft-restore"};
    host.saves = {{"iptables-nft-save", kNat}};
    host.chains = {{TableFamily::kIp, "nat", "KUBE-SERVICES"}};
    host.refuse_restores = 2;
    EXPECT_THAT(remove_kube_proxy_traces(host, Ipvs::kNow).failed, IsEmpty());
    EXPECT_EQ(std::count(host.ran.begin(), host.ran.end(), "iptables-nft-save"), 3);
    host.saves = {{"iptables-nft-save", kNat}};
    host.refuse_restores = 3;
    const auto removed = remove_kube_proxy_traces(host, Ipvs::kNow);
    ASSERT_EQ(removed.failed.size(), 1U);
    EXPECT_THAT(removed.failed[0].message, HasSubstr("line 3 failed"));
}

TEST(KubeProxyTraces, IpvsOfSomebodyElseStays) {
    FakeHost host;
    host.servers = kernel::ipvs::Servers{2, 0};
    EXPECT_THAT(remove_kube_proxy_traces(host, Ipvs::kNow).removed, IsEmpty());
    EXPECT_FALSE(host.flushed);
}

TEST(KubeProxyTraces, IpvsIsLeftWhileItCarriesConnections) {
    FakeHost host;
    host.device = true;
    host.servers = kernel::ipvs::Servers{2, 5};
    EXPECT_EQ(remove_kube_proxy_traces(host, Ipvs::kIdle).ipvs_connections, 5U);
    EXPECT_FALSE(host.flushed);
    EXPECT_TRUE(host.device) << "its addresses bring the packets in";
    host.servers = kernel::ipvs::Servers{2, 0};
    EXPECT_THAT(remove_kube_proxy_traces(host, Ipvs::kIdle).removed,
                ElementsAre("2 virtual servers of IPVS", "device kube-ipvs0"));
    EXPECT_TRUE(host.flushed);
}

TEST(KubeProxyTraces, SetsByTheirNamesOfBothFamilies) {
    FakeHost host;
    host.has_sets = true;
    host.sets = {"KUBE-CLUSTER-IP", "KUBE-6-CLUSTER-IP", "KUBE-6-LOAD-BALANCER-SOURCE-CID", "KUBE-NWPLCY", "mine"};
    host.busy = 3;
    const auto removed = remove_kube_proxy_traces(host, Ipvs::kNow);
    EXPECT_THAT(removed.removed, ElementsAre("3 sets of ip_set"));
    EXPECT_THAT(host.sets, ElementsAre("KUBE-NWPLCY", "mine"));
    EXPECT_EQ(host.pauses, 3);
    host.sets.insert("KUBE-CLUSTER-IP");
    host.busy = 1000;
    EXPECT_THAT(remove_kube_proxy_traces(host, Ipvs::kNow).failed.size(), 1U) << "a rule of somebody else uses it";
}

}  // namespace
}  // namespace ghostip::agent

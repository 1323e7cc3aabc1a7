// A node is taken over from the real kube-proxy, whose rules are as recorded, and given back to it, while clients go
// on. At no moment is it without rules: what kube-proxy left goes when ours serve, and ours go when kube-proxy's serve.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "kernel/iptables/linux.h"
#include "kernel/nfacct/linux.h"
#include "kubernetes/api_server.h"
#include "packets/live_node.h"
#include "packets/traffic.h"
#include "recorded/ipvs_recording.h"
#include "recorded/recordings.h"
#include "source/manifests/manifest_set.h"

namespace ghostip::recorded {
namespace {

using kernel::iptables::LinuxIptables;
using kernel::iptables::Variant;
using net::Family;
using ::testing::_;
using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Pair;

struct Case {
    std::string theirs;  // "nftables", "iptables-nft", "iptables-legacy", "ipvs-legacy"
    std::string ours;    // likewise
    Family family;
};

Variant variant_of(const std::string& mode) { return mode == "iptables-legacy" ? Variant::kLegacy : Variant::kNft; }

// Those of stream.yaml that answer.
std::vector<packets::ServiceSpec> services() {
    return {{"plain", "172.30.0.1", "1.2.3.1", 30001, false, {"10.180.0.1", "10.180.0.2", "10.181.0.3"}},
            {"sticky", "172.30.0.2", "1.2.3.2", 30002, true, {"10.180.0.4", "10.180.0.5", "10.181.0.6", "10.181.0.7"}}};
}

class TakeOver : public ::testing::TestWithParam<Case> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(live_, packets::LiveNode::create(GetParam().family));
        const auto inside = live_->node().enter();
        ASSIGN_OR_RETURN(server_, testkubernetes::ApiServer::open());
        ASSIGN_OR_RETURN(auto set, source::ManifestSet::open(manifest_path(stream())));
        for (const auto& change : set.load().changes) server_->put(*change.object);
        live_->follow(server_->url(), {"--conntrack-max-per-core", "0", "--conntrack-min", "0"});
        live_->set_mode(GetParam().ours);
        return {};
    }
    static const Recording& stream() { return recording("stream"); }
    // In the modes ipvs and iptables, of the same variant, kube-proxy's rules are ours, and ours are its own.
    static bool adopted() { return GetParam().theirs != "nftables" && GetParam().theirs == GetParam().ours; }
    static bool is_iptables(const std::string& mode) { return mode.starts_with("iptables"); }
    static bool is_ipvs(const std::string& mode) { return mode.starts_with("ipvs"); }

    // As kube-proxy does it at its start: chains that are there are written anew, jumps only where there are none.
    Result<void> kube_proxy_writes(bool jumps) {
        if (is_ipvs(GetParam().theirs))
            return jumps ? load_ipvs(stream().name, live_->node()) : load_ipvs_again(stream().name, live_->node());
        if (!is_iptables(GetParam().theirs)) return load_nftables(stream(), live_->node());
        const auto inside = live_->node().enter();
        ASSIGN_OR_RETURN(const auto iptables, LinuxIptables::open(variant_of(GetParam().theirs), GetParam().family));
        ASSIGN_OR_RETURN(const auto counters, kernel::nfacct::LinuxNfacct::open());
        if (jumps) return load(stream(), *iptables, *counters);
        ASSIGN_OR_RETURN(const auto text, iptables_text(stream(), GetParam().family));
        std::string own;
        for (const auto table : kTables) {
            own += fmt::format("*{}\n", table);
            for (const auto& line : lines_of_table(text, table))
                if (line.starts_with(":KUBE-") || line.starts_with("-A KUBE-")) own += line + "\n";
            own += "COMMIT\n";
        }
        ASSIGN_OR_RETURN(const auto refused, iptables->restore(own));
        if (refused) return fail("line {}: {}", refused->line, refused->reason);
        return {};
    }
    // What of `mode` is in the kernel, in nftables mode the table of that name.
    bool is_there(const std::string& mode, const std::string& table) {
        if (is_ipvs(mode)) {
            const auto servers = saved_servers(live_->node());
            EXPECT_TRUE(servers) << servers.error().message;
            return servers && !servers->empty();
        }
        if (!is_iptables(mode)) {
            const auto tables = live_->nft({"list", "tables"});
            EXPECT_TRUE(tables) << tables.error().message;
            return tables && tables->find(table) != std::string::npos;
        }
        const auto inside = live_->node().enter();
        const auto iptables = LinuxIptables::open(variant_of(mode), GetParam().family);
        EXPECT_TRUE(iptables) << iptables.error().message;
        const auto lines = iptables ? saved_lines(**iptables) : iptables.error();
        EXPECT_TRUE(lines) << lines.error().message;
        return lines && std::any_of(lines->begin(), lines->end(), [](const std::string& line) {
                   return line.find("KUBE-SERVICES") != std::string::npos ||
                          line.find("KUBE-SVC-") != std::string::npos;
               });
    }
    bool theirs_are_there() { return is_there(GetParam().theirs, "kube-proxy"); }
    bool ours_are_there() { return is_there(GetParam().ours, "ghostip"); }
    void some_traffic() const {
        const auto enough = traffic_->connections() + 60;
        EXPECT_TRUE(packets::wait_until(std::chrono::seconds(20), [&] { return traffic_->connections() >= enough; }));
    }

    std::unique_ptr<packets::LiveNode> live_;
    std::unique_ptr<testkubernetes::ApiServer> server_;
    std::unique_ptr<packets::Traffic> traffic_;
};

TEST_P(TakeOver, AndGivingBackNobodyNotices) {
    const auto before = kube_proxy_writes(true);
    ASSERT_TRUE(before) << before.error().message;
    ASSERT_TRUE(theirs_are_there());
    auto traffic = packets::Traffic::start(*live_, targets_of(*live_, services()));
    ASSERT_TRUE(traffic) << traffic.error().message;
    traffic_ = std::move(*traffic);
    some_traffic();

    const auto started = live_->start_and_wait();
    ASSERT_TRUE(started) << started.error().message;
    EXPECT_TRUE(ours_are_there());
    if (!adopted()) {
        EXPECT_TRUE(packets::wait_until(std::chrono::seconds(20), [&] { return !theirs_are_there(); })) << live_->log();
        EXPECT_TRUE(ours_are_there()) << "only theirs go";
    }
    some_traffic();

    live_->stop(SIGTERM);
    some_traffic();
    const auto again = kube_proxy_writes(!adopted());
    ASSERT_TRUE(again) << again.error().message;
    some_traffic();
    if (!adopted()) {
        const auto cleaned = live_->run_ghostip("cleanup", false);
        ASSERT_TRUE(cleaned) << cleaned.error().message;
        EXPECT_FALSE(ours_are_there());
    }
    EXPECT_TRUE(theirs_are_there());
    some_traffic();

    const auto report = traffic_->end();
    EXPECT_THAT(report.failures, IsEmpty());
    // Each remembers for itself who stuck to whom: once there and once back, and while the rules of both stand either
    // may be asked.
    EXPECT_THAT(report.moved, Each(Pair(_, Le(4))));
    fmt::print("  {}\n", report.text());
}

std::vector<Case> cases() {
    const std::vector<std::string> modes{"nftables", "iptables-nft", "iptables-legacy"};
    std::vector<Case> cases;
    for (const auto& theirs : modes)
        for (const auto& ours : modes)
            for (const auto family : net::kFamilies) cases.push_back({theirs, ours, family});
    for (const auto family : net::kFamilies) cases.push_back({"ipvs-legacy", "ipvs-legacy", family});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(Modes, TakeOver, ::testing::ValuesIn(cases()), [](const auto& one) {
    auto name = fmt::format("{}_to_{}_{}", one.param.theirs, one.param.ours, net::family_name(one.param.family));
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
});

}  // namespace
}  // namespace ghostip::recorded

// A node is moved from one mode to another while clients go on: the new mode's rules are complete before those of the
// old one go, no connection fails, and of the old mode nothing stays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "packets/live_node.h"
#include "packets/traffic.h"

namespace ghostip::packets {
namespace {

using ::testing::_;
using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Pair;

const std::vector<std::string> kModes{"nftables", "iptables-nft", "iptables-legacy"};

std::vector<ServiceSpec> services() {
    return {{"plain", "172.30.0.1", "1.2.3.1", 30001, false, {"10.180.0.1", "10.180.0.2", "10.181.0.3"}},
            {"sticky", "172.30.0.2", "1.2.3.2", 30002, true, {"10.180.0.4", "10.180.0.5", "10.181.0.6", "10.181.0.7"}},
            {"empty", "172.30.0.3", "1.2.3.3", 30003, false, {}}};
}

class ModeChange : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        auto live = LiveNode::create(GetParam());
        ASSERT_TRUE(live) << live.error().message;
        live_ = std::move(*live);
        live_->write("services.yaml", manifest(services()));
    }
    void some_traffic() const {
        const auto enough = traffic_->connections() + 60;
        EXPECT_TRUE(wait_until(std::chrono::seconds(20), [&] { return traffic_->connections() >= enough; }));
    }
    [[nodiscard]] bool has_device() const {
        const auto device = live_->node().run({"ip", "link", "show", "dev", "kube-ipvs0"});
        return !device || device->status == 0;
    }
    // What of a mode is in the kernel, while another one serves. The modes iptables and ipvs share chains.
    [[nodiscard]] bool is_there(const std::string& mode, const std::string& serving = {}) const {
        if (mode.starts_with("ipvs")) {
            const auto saved = live_->node().must_run({"iptables-nft-save"});
            return !saved || saved->find("KUBE-IPVS-FILTER") != std::string::npos;
        }
        if (serving.starts_with("ipvs") && mode == "iptables-nft") {
            const auto saved = live_->node().must_run({"iptables-nft-save"});
            return !saved || saved->find("KUBE-SVC-") != std::string::npos ||
                   saved->find("KUBE-PROXY-CANARY") != std::string::npos;
        }
        if (mode == "nftables") {
            const auto tables = live_->nft({"list", "tables"});
            return !tables || tables->find("ghostip") != std::string::npos;
        }
        const bool nft = mode == "iptables-nft";
        for (const std::string program : {"iptables", "ip6tables"}) {
            const auto saved = live_->node().must_run({program + (nft ? "-nft-save" : "-legacy-save")});
            if (!saved || saved->find("KUBE-SERVICES") != std::string::npos ||
                saved->find("KUBE-SVC-") != std::string::npos || saved->find("KUBE-PROXY") != std::string::npos)
                return true;
        }
        return false;
    }

    std::unique_ptr<LiveNode> live_;
    std::unique_ptr<Traffic> traffic_;
};

// By every order of two, one after the other: nftables, legacy, nft, nftables, nft, legacy, nftables.
TEST_P(ModeChange, NobodyNotices) {
    const std::vector<std::size_t> order{0, 2, 1, 0, 1, 2, 0};
    live_->set_mode(kModes[order.front()]);
    const auto first = live_->start_and_wait();
    ASSERT_TRUE(first) << first.error().message;
    auto traffic = Traffic::start(*live_, targets_of(*live_, {services()[0], services()[1]}));
    ASSERT_TRUE(traffic) << traffic.error().message << "\n" << live_->log();
    traffic_ = std::move(*traffic);
    for (std::size_t i = 1; i < order.size(); ++i) {
        const auto& from = kModes[order[i - 1]];
        const auto& to = kModes[order[i]];
        SCOPED_TRACE(from + " to " + to);
        some_traffic();
        live_->stop(i % 2 == 0 ? SIGTERM : SIGKILL);
        some_traffic();
        EXPECT_TRUE(is_there(from)) << "the old rules serve while nobody runs";
        live_->set_mode(to);
        const auto started = live_->start_and_wait();
        ASSERT_TRUE(started) << started.error().message;
        EXPECT_TRUE(is_there(to));
        EXPECT_TRUE(wait_until(std::chrono::seconds(20), [&] { return !is_there(from); })) << live_->log();
        EXPECT_TRUE(is_there(to)) << "only the old ones go";
        some_traffic();
    }
    const auto report = traffic_->end();
    EXPECT_THAT(report.failures, IsEmpty());
    // Each mode remembers for itself who stuck to whom, and while the rules of both stand either may be asked: there
    // and back, at each change.
    EXPECT_THAT(report.moved, Each(Pair(_, Le(2 * (static_cast<int>(order.size()) - 1)))));
    fmt::print("  {} changes of the mode: {}\n", order.size() - 1, report.text());
}

// On a kernel that has IPVS (test/vm): to it and away from it, also where both write to the same chains.
TEST_P(ModeChange, NobodyNoticesIpvs) {
    ASSERT_TRUE(live_->node().must_run({"ipvsadm", "-Ln"})) << "this kernel has no IPVS; test/vm/run.sh";
    // The connections that stay begin in IPVS, which carries them whoever serves.
    const std::vector<std::string> order{"ipvs-nft", "nftables", "ipvs-nft", "iptables-nft", "ipvs-nft", "nftables"};
    live_->set_mode(order.front());
    const auto first = live_->start_and_wait();
    ASSERT_TRUE(first) << first.error().message;
    auto traffic = Traffic::start(*live_, targets_of(*live_, {services()[0], services()[1]}));
    ASSERT_TRUE(traffic) << traffic.error().message << "\n" << live_->log();
    traffic_ = std::move(*traffic);
    for (std::size_t i = 1; i < order.size(); ++i) {
        const auto& from = order[i - 1];
        const auto& to = order[i];
        SCOPED_TRACE(fmt::format("{} to {}", from, to));
        some_traffic();
        live_->stop(i % 2 == 0 ? SIGTERM : SIGKILL);
        some_traffic();
        live_->set_mode(to);
        const auto started = live_->start_and_wait();
        ASSERT_TRUE(started) << started.error().message;
        EXPECT_TRUE(is_there(to, to));
        EXPECT_TRUE(wait_until(std::chrono::seconds(30), [&] { return !is_there(from, to); })) << live_->log();
        EXPECT_TRUE(is_there(to, to)) << "only the old ones go";
        some_traffic();
        if (from == "ipvs-nft") {
            const auto said = [&] { return live_->log().find("its virtual servers stay until these end"); };
            EXPECT_TRUE(wait_until(std::chrono::seconds(60), [&] { return said() != std::string::npos; }))
                << live_->log();
            EXPECT_TRUE(has_device()) << "connections that IPVS carries go on";
        }
    }
    const auto report = traffic_->end();
    EXPECT_THAT(report.failures, IsEmpty());
    EXPECT_THAT(report.moved, Each(Pair(_, Le(2 * (static_cast<int>(order.size()) - 1)))));
    fmt::print("  {} changes of the mode: {}\n", order.size() - 1, report.text());
}

INSTANTIATE_TEST_SUITE_P(Families, ModeChange, ::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                         [](const auto& one) { return std::string(net::family_name(one.param)); });

}  // namespace
}  // namespace ghostip::packets

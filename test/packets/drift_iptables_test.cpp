// Somebody else writes to the chains of iptables mode: what differs is found, put back, and told. No program tells of
// its writes there, so the proxy looks for itself, in this test every second.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>

#include "packets/live_node.h"
#include "packets/ruleset_text.h"
#include "packets/traffic.h"

namespace ghostip::packets {
namespace {

using ::testing::HasSubstr;

constexpr std::chrono::seconds kRepairedWithin(30);  // generous: what is wanted is printed

class DriftIptables : public ::testing::TestWithParam<std::tuple<net::Family, std::string>> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
    }
    Result<void> set_up() {
        ASSIGN_OR_RETURN(live_, LiveNode::create(family()));
        services_ = {{"a", "172.30.0.1", "1.2.3.1", 30001, false, {"10.180.0.1", "10.180.0.2"}},
                     {"b", "172.30.0.2", "", 30002, true, {"10.180.0.3"}},
                     {"c", "172.30.0.3", "1.2.3.3", 0, false, {}}};
        live_->write("services.yaml", manifest(services_));
        live_->set_mode("iptables-" + variant());
        live_->add_flags({"--full-check-seconds", "1"});
        RETURN_IF_ERROR(live_->start_and_wait());
        ASSIGN_OR_RETURN(before_, live_->listing());
        return {};
    }

    [[nodiscard]] net::Family family() const { return std::get<0>(GetParam()); }
    [[nodiscard]] std::string variant() const { return std::get<1>(GetParam()); }
    // Runs `iptables` of the variant and family.
    [[nodiscard]] Result<std::string> iptables(const std::vector<std::string>& arguments) const {
        std::vector<std::string> argv{(family() == net::Family::kIpv4 ? "iptables-" : "ip6tables-") + variant(), "-w",
                                      "5"};
        argv.insert(argv.end(), arguments.begin(), arguments.end());
        return live_->node().must_run(argv);
    }
    // The first chain of that beginning.
    [[nodiscard]] std::string chain(const std::string& prefix) const {
        const auto at = before_.find("\nnat " + prefix);
        const auto begin = at + std::string_view("\nnat ").size();
        return at == std::string::npos ? "" : before_.substr(begin, before_.find('\n', begin) - begin);
    }
    [[nodiscard]] bool is_as_before() const {
        const auto listing = live_->listing();
        return listing && *listing == before_;
    }
    void expect_repaired(const std::string& what, const std::vector<std::string>& arguments) {
        SCOPED_TRACE(what);
        const double repairs = live_->metric("ghostip_repairs_total").value_or(-1);
        const auto done = iptables(arguments);
        ASSERT_TRUE(done) << done.error().message;
        EXPECT_FALSE(is_as_before()) << "nothing was changed";
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_TRUE(wait_until(kRepairedWithin, [&] { return is_as_before(); }))
            << first_difference(live_->listing().value_or(""), before_) << live_->log();
        EXPECT_TRUE(
            wait_until(kRepairedWithin, [&] { return live_->metric("ghostip_repairs_total").value_or(-1) > repairs; }));
        fmt::print(
            "  {}: repaired after {} ms\n", what,
            std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count());
    }

    std::unique_ptr<LiveNode> live_;
    std::vector<ServiceSpec> services_;
    std::string before_;
};

TEST_P(DriftIptables, IsRepairedToldAndCounted) {
    const auto service = chain("KUBE-SVC-");
    const auto endpoint = chain("KUBE-SEP-");
    ASSERT_FALSE(service.empty());
    ASSERT_FALSE(endpoint.empty());
    expect_repaired("a rule of a Service is gone", {"-t", "nat", "-D", service, "1"});
    expect_repaired("an endpoint's chain is empty", {"-t", "nat", "-F", endpoint});
    expect_repaired(
        "a rule of somebody's in ours",
        {"-t", "nat", "-I", endpoint, "-p", "tcp", "-j", "DNAT", "--to-destination",
         live_->address("10.180.9.9").is_ipv4() ? "10.180.9.9:8080"
                                                : fmt::format("[{}]:8080", live_->address("10.180.9.9").text())});
    expect_repaired("a jump to our chains is gone", {"-t", "nat", "-D", "PREROUTING", "1"});
    expect_repaired("the dispatching rules are gone", {"-t", "nat", "-F", "KUBE-SERVICES"});
    expect_repaired("a whole table is empty", {"-t", "nat", "-F"});
    EXPECT_THAT(live_->log(), HasSubstr("the kernel differed in"));
    auto traffic = Traffic::start(*live_, targets_of(*live_, {services_[0]}));
    ASSERT_TRUE(traffic) << traffic.error().message;
    EXPECT_TRUE(wait_until(std::chrono::seconds(20), [&] { return (*traffic)->connections() > 100; }));
    EXPECT_THAT((*traffic)->end().failures, ::testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Families, DriftIptables,
                         ::testing::Combine(::testing::Values(net::Family::kIpv4, net::Family::kIpv6),
                                            ::testing::Values("nft", "legacy")),
                         [](const auto& one) {
                             return std::string(net::family_name(std::get<0>(one.param))) + std::get<1>(one.param);
                         });

}  // namespace
}  // namespace ghostip::packets

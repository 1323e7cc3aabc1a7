// Gateways and their changes, as the kernel of this machine tells them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "kernel/route/addresses.h"
#include "kernel/route/gateways.h"
#include "support/namespace.h"

namespace ghostip::kernel::route {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Routes : public ::testing::Test {
  protected:
    void SetUp() override {
        auto space = testnet::Namespace::create();
        ASSERT_TRUE(space) << "needs root: " << space.error().message;
        space_.emplace(std::move(*space));
        // Both ends stay here: what is asked about is on this side of any wire. No addresses but those of the test.
        std::vector<std::string> links{"link add d0 type veth peer name p0", "link add d1 type veth peer name p1"};
        for (const std::string name : {"d0", "d1", "p0", "p1"}) {
            links.push_back("link set " + name + " addrgenmode none");
            links.push_back("link set " + name + " up");
        }
        ip(links);
        ip({"addr add 192.0.2.2/24 dev d0", "addr add 198.51.100.2/24 dev d1",
            "addr add 2001:db8:1::2/64 dev d0 nodad"});
    }

    void ip(const std::vector<std::string>& lines) const {
        std::string batch;
        for (const auto& line : lines) batch += line + "\n";
        const auto done = space_->must_run({"ip", "-batch", "-"}, batch);
        EXPECT_TRUE(done) << (done ? "" : done.error().message);
    }

    [[nodiscard]] std::vector<std::string> known() const {
        const auto inside = space_->enter();
        const auto all = gateways();
        EXPECT_TRUE(all) << (all ? "" : all.error().message);
        std::vector<std::string> texts;
        if (all)
            for (const auto& gateway : *all) texts.push_back(gateway.text());
        return texts;
    }

    [[nodiscard]] AddressWatch watch() const {
        const auto inside = space_->enter();
        auto made = AddressWatch::open();
        EXPECT_TRUE(made);
        return std::move(made).value();
    }

    std::optional<testnet::Namespace> space_;
};

TEST_F(Routes, WithoutAnyThereIsNoGateway) { EXPECT_THAT(known(), IsEmpty()); }

TEST_F(Routes, GatewaysOfEveryKind) {
    ip({"route add default via 192.0.2.1 dev d0", "route add 10.1.0.0/16 via 192.0.2.1 dev d0",
        "route add 10.2.0.0/16 nexthop via 192.0.2.7 dev d0 weight 1 nexthop via 198.51.100.9 dev d1 weight 2",
        "route add 10.3.0.0/16 via inet6 2001:db8:1::77 dev d0", "route add 10.4.0.0/16 dev d1",
        "route add 10.5.0.0/16 via 198.51.100.5 dev d1 table 77", "route add default via 2001:db8:1::1 dev d0",
        "route add 2001:db8:9::/64 nexthop via 2001:db8:1::8 dev d0 nexthop via fe80::9 dev d1",
        "route add blackhole 2001:db8:a::/64"});
    EXPECT_THAT(known(), ElementsAre("192.0.2.1", "192.0.2.7", "198.51.100.5", "198.51.100.9", "2001:db8:1::1",
                                     "2001:db8:1::8", "2001:db8:1::77", "fe80::9"));
}

TEST_F(Routes, GatewaysOfNextHopObjects) {
    ip({"nexthop add id 1 via 192.0.2.8 dev d0", "route add 10.6.0.0/16 nhid 1"});
    EXPECT_THAT(known(), ElementsAre("192.0.2.8"));
}

TEST_F(Routes, ManyRoutesAreReadToTheEnd) {
    std::vector<std::string> lines;
    for (int i = 0; i < 3000; ++i)
        lines.push_back("route add 10." + std::to_string(i / 250) + "." + std::to_string(i % 250) + ".0/24 dev d1");
    lines.emplace_back("route add 10.255.0.0/16 via 198.51.100.7 dev d1");
    ip(lines);
    EXPECT_THAT(known(), ElementsAre("198.51.100.7"));
}

// What is told is told at once; what is not told ends with the time that the test gives it, so it cannot fail by
// chance.
TEST_F(Routes, TheWatchTellsOfGatewaysAndNotOfPods) {
    struct Case {
        const char* name;
        std::vector<std::string> lines;
        bool told;
    };
    const Case cases[] = {
        {"a pod", {"route add 10.0.0.7/32 dev d0"}, false},
        {"a thousand pods, IPv6",
         [] {
             std::vector<std::string> lines;
             for (int i = 1; i <= 1000; ++i) lines.push_back("route add fd00::" + std::to_string(i) + " dev d0");
             return lines;
         }(),
         false},
        {"a pod goes", {"route del 10.0.0.7/32 dev d0"}, false},
        {"a default route", {"route add default via 192.0.2.1 dev d0"}, true},
        {"by way of the same gateway", {"route add 10.1.0.0/16 via 192.0.2.1 dev d0"}, false},
        {"by way of another", {"route add 10.2.0.0/16 via 192.0.2.3 dev d0"}, true},
        {"a route with a gateway goes", {"route del 10.2.0.0/16"}, false},
        {"the default route goes", {"route del default"}, true},
        {"a default route of IPv6", {"route add default via 2001:db8:1::1 dev d0"}, true},
        {"an address", {"addr add 192.0.2.9/24 dev d0"}, true},
        {"an address goes", {"addr del 192.0.2.9/24 dev d0"}, true},
    };
    auto watch = this->watch();
    const auto told_within = [&](timespec patience) {
        const Fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
        itimerspec time{};
        time.it_value = patience;
        EXPECT_EQ(::timerfd_settime(timer.get(), 0, &time, nullptr), 0);
        return watch.wait(timer.get());
    };
    constexpr timespec kMoment{0, 100'000'000};
    // Of the IPv6 address the kernel tells once more when both ends of its wire are up.
    for (int i = 0; i < 20 && told_within({0, 400'000'000}); ++i) {
    }
    for (const auto& c : cases) {
        ip(c.lines);
        EXPECT_EQ(told_within(c.told ? timespec{10, 0} : kMoment), c.told) << c.name;
    }
}

TEST_F(Routes, TheWatchStops) {
    auto watch = this->watch();
    const Fd stop(::eventfd(1, EFD_CLOEXEC));
    ip({"addr add 192.0.2.9/24 dev d0"});
    EXPECT_FALSE(watch.wait(stop.get()));
}

}  // namespace
}  // namespace ghostip::kernel::route

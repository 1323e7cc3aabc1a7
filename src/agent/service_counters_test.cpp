#include "agent/service_counters.h"

#include <cerrno>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/metrics.h"
#include "plan/plan_testing.h"

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;
using namespace plan::testing;
using dataplane::DestinationCounts;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

api::Service web(std::string name, std::string_view cluster_ip, std::vector<std::string_view> external_ips = {}) {
    auto object = plan::testing::service(std::move(name), cluster_ip, {service_port("p", 80)});
    object.external_ips = ips(external_ips);
    return object;
}
plan::DestinationKey address(std::string_view text) { return {false, ip(text), net::Protocol::kTcp, 80}; }

// Counters of a planner's service ports, on a kernel that says what the test says.
struct Scene {
    Scene() {
        counters = std::make_shared<ServiceCounters>(
            net::Family::kIpv4,
            [this]() -> Result<DestinationCounts> {
                ++readings;
                if (failure != 0) return errno_error(failure, "scripted");
                return kernel;
            },
            [this] { return now; });
    }
    void plan(const std::vector<api::Change>& changes) { counters->apply(planner.apply(changes)); }
    // What the kernel has counted for an address.
    void counted(std::string_view where, std::uint64_t packets, std::uint64_t bytes) {
        for (auto& one : kernel.counts)
            if (one.key == address(where)) {
                one.packets = packets;
                one.bytes = bytes;
                return;
            }
        kernel.counts.push_back({address(where), packets, bytes});
    }
    void removed(std::string_view where) {
        std::erase_if(kernel.counts, [&](const auto& one) { return one.key == address(where); });
    }
    // `name packets bytes` of each, read anew.
    std::vector<std::string> sums() {
        now += 1min;
        std::vector<std::string> result;
        for (const auto& sum : counters->sums())
            result.push_back(fmt::format("{} {} {}", sum.name.service.name, sum.packets, sum.bytes));
        return result;
    }

    NodePlanner planner;
    DestinationCounts kernel;
    int failure = 0;
    int readings = 0;
    ServiceCounters::Clock::time_point now{};
    std::shared_ptr<ServiceCounters> counters;
};

TEST(ServiceCounters, AddsUpDestinations) {
    Scene scene;
    scene.plan({put(web("a", "172.30.0.1", {"1.2.3.4"})), put(web("b", "172.30.0.2"))});
    EXPECT_THAT(scene.sums(), ElementsAre("a 0 0", "b 0 0"));
    scene.counted("172.30.0.1", 10, 1000);
    scene.counted("1.2.3.4", 5, 300);
    scene.counted("172.30.0.2", 1, 40);
    scene.counted("172.30.0.99", 7, 700);  // nobody's: an older plan's, about to go
    EXPECT_THAT(scene.sums(), ElementsAre("a 15 1300", "b 1 40"));
    EXPECT_THAT(scene.sums(), ElementsAre("a 15 1300", "b 1 40")) << "nothing new";
    scene.counted("1.2.3.4", 6, 360);
    EXPECT_THAT(scene.sums(), ElementsAre("a 16 1360", "b 1 40"));
}

// Whatever happens to the elements, a sum does not become less while its service port lives, nor counts twice.
TEST(ServiceCounters, NeverGoBackwards) {
    Scene scene;
    const auto both = web("a", "172.30.0.1", {"1.2.3.4"});
    const auto one = web("a", "172.30.0.1");
    scene.plan({put(both)});
    scene.counted("172.30.0.1", 10, 1000);
    scene.counted("1.2.3.4", 5, 500);
    EXPECT_THAT(scene.sums(), ElementsAre("a 15 1500"));

    scene.plan({put(one)});
    EXPECT_THAT(scene.sums(), ElementsAre("a 15 1500")) << "a destination left the plan, not yet the kernel";
    scene.plan({put(both)});
    scene.counted("1.2.3.4", 7, 700);
    EXPECT_THAT(scene.sums(), ElementsAre("a 17 1700")) << "it came back before the kernel heard of it";
    scene.plan({put(one)});
    scene.removed("1.2.3.4");
    EXPECT_THAT(scene.sums(), ElementsAre("a 17 1700")) << "it left the kernel, too";
    scene.plan({put(both)});
    scene.counted("1.2.3.4", 9, 900);
    EXPECT_THAT(scene.sums(), ElementsAre("a 26 2600")) << "a new element, which has counted more than the old one";

    scene.counted("172.30.0.1", 1, 60);
    EXPECT_THAT(scene.sums(), ElementsAre("a 27 2660")) << "an element that was made anew between two readings";
    scene.kernel.counts.clear();
    EXPECT_THAT(scene.sums(), ElementsAre("a 27 2660")) << "the whole table is gone";
    scene.counted("172.30.0.1", 100, 6000);
    EXPECT_THAT(scene.sums(), ElementsAre("a 127 8660")) << "and there again";

    scene.plan({gone(both)});
    EXPECT_THAT(scene.sums(), IsEmpty()) << "the series goes with the service port";
    scene.kernel.counts.clear();
    EXPECT_THAT(scene.sums(), IsEmpty());
    scene.plan({put(both)});
    scene.counted("172.30.0.1", 2, 100);
    EXPECT_THAT(scene.sums(), ElementsAre("a 2 100")) << "another one of that name begins at 0";
}

// A dump that was interrupted lacks some and has some twice.
TEST(ServiceCounters, IncompleteReadings) {
    Scene scene;
    scene.plan({put(web("a", "172.30.0.1")), put(web("b", "172.30.0.2"))});
    scene.counted("172.30.0.1", 10, 1000);
    scene.counted("172.30.0.2", 1, 40);
    EXPECT_THAT(scene.sums(), ElementsAre("a 10 1000", "b 1 40"));
    scene.kernel = {{{address("172.30.0.2"), 2, 80}, {address("172.30.0.2"), 3, 120}}, false};
    EXPECT_THAT(scene.sums(), ElementsAre("a 10 1000", "b 3 120"));
    scene.kernel = {{{address("172.30.0.1"), 12, 1200}, {address("172.30.0.2"), 3, 120}}, true};
    EXPECT_THAT(scene.sums(), ElementsAre("a 12 1200", "b 3 120")) << "what was missing was there all the time";
}

TEST(ServiceCounters, ADestinationThatPassesToAnother) {
    Scene scene;
    const auto first = web("a", "172.30.0.1", {"1.2.3.4"});
    const auto second = web("b", "172.30.0.2", {"1.2.3.4"});
    scene.plan({put(first), put(second)});
    scene.counted("1.2.3.4", 10, 1000);
    EXPECT_THAT(scene.sums(), ElementsAre("a 10 1000", "b 0 0"));
    scene.plan({put(web("a", "172.30.0.1"))});
    scene.counted("1.2.3.4", 13, 1300);
    EXPECT_THAT(scene.sums(), ElementsAre("a 10 1000", "b 3 300")) << "the element stays and goes on counting";
}

TEST(ServiceCounters, AskAtMostOnceASecond) {
    Scene scene;
    scene.plan({put(web("a", "172.30.0.1"))});
    static_cast<void>(scene.counters->sums());
    static_cast<void>(scene.counters->sums());
    scene.now += 999ms;
    static_cast<void>(scene.counters->sums());
    EXPECT_EQ(scene.readings, 1);
    scene.now += 1ms;
    static_cast<void>(scene.counters->sums());
    EXPECT_EQ(scene.readings, 2);
}

TEST(ServiceCounters, KeepWhatIsKnownWhereNothingCanBeRead) {
    Scene scene;
    scene.plan({put(web("a", "172.30.0.1"))});
    scene.counted("172.30.0.1", 10, 1000);
    EXPECT_THAT(scene.sums(), ElementsAre("a 10 1000"));
    scene.failure = ENOBUFS;
    EXPECT_THAT(scene.sums(), ElementsAre("a 10 1000"));
    scene.failure = 0;
    scene.counted("172.30.0.1", 11, 1100);
    EXPECT_THAT(scene.sums(), ElementsAre("a 11 1100"));
}

TEST(ServiceCounters, FromTwoThreads) {
    Scene scene;
    std::vector<api::Change> come;
    std::vector<api::Change> go;
    for (int i = 1; i < 100; ++i) {
        const auto where = fmt::format("172.30.0.{}", i);
        come.push_back(put(web(fmt::format("s{}", i), where)));
        go.push_back(gone(web(fmt::format("s{}", i), where)));
        scene.counted(where, 5, 50);
    }
    scene.plan(come);
    std::thread loop([&] {
        for (int round = 0; round < 100; ++round) scene.plan(round % 2 == 0 ? go : come);
    });
    for (int round = 0; round < 100; ++round)
        for (const auto& sum : scene.sums()) EXPECT_TRUE(sum.ends_with(" 5 50") || sum.ends_with(" 0 0")) << sum;
    loop.join();
    EXPECT_EQ(scene.sums().size(), 99U);
}

TEST(ServiceCounters, OnTheMetricsPage) {
    Metrics metrics("nftables");
    EXPECT_THAT(metrics.metrics().body, Not(HasSubstr("ghostip_service_packets")));
    Scene scene;
    scene.plan({put(web("a", "172.30.0.1"))});
    scene.counted("172.30.0.1", 10, 12345678901);
    metrics.count_services(net::Family::kIpv4, scene.counters);
    metrics.count_services(net::Family::kIpv6,
                           std::make_shared<ServiceCounters>(net::Family::kIpv6, [] { return DestinationCounts{}; }));
    const std::string labels = R"({namespace="ns",service="a",port_name="p",protocol="TCP",ip_family="IPv4"} )";
    EXPECT_THAT(metrics.metrics().body, HasSubstr("# TYPE ghostip_service_packets_total counter\n"
                                                  "ghostip_service_packets_total" +
                                                  labels + "10\n"));
    EXPECT_THAT(metrics.metrics().body, HasSubstr("# TYPE ghostip_service_bytes_total counter\n"
                                                  "ghostip_service_bytes_total" +
                                                  labels + "12345678901\n"));
    EXPECT_EQ(scene.readings, 1) << "one reading for both";
}

}  // namespace
}  // namespace ghostip::agent

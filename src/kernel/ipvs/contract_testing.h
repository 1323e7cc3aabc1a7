// What IPVS does with each command, as a table of steps: the twin has to do the same as the kernel, so both are held to
// it (memory_test.cpp, and test/kernel/ipvs_kernel_test.cpp). For tests.
#pragma once

#include <algorithm>
#include <cerrno>

#include <gtest/gtest.h>

#include "kernel/ipvs/ipvs.h"

namespace ghostip::kernel::ipvs {

inline ServiceKey service_key(std::string_view address, std::uint16_t port,
                              net::Protocol protocol = net::Protocol::kTcp) {
    return {net::IpAddress::parse(address).value(), protocol, port, 0};
}

inline Destination destination(std::string_view address, std::uint16_t port, std::uint32_t weight = 1) {
    Destination made;
    made.key = {net::IpAddress::parse(address).value(), port};
    made.weight = weight;
    return made;
}

inline Service service(const ServiceKey& key, std::string scheduler = "rr", std::uint32_t flags = 0,
                       std::uint32_t timeout_seconds = 0) {
    return {key, std::move(scheduler), flags, timeout_seconds, kAllBits, ""};
}

inline std::vector<ServiceState> sorted(std::vector<ServiceState> states) {
    std::sort(states.begin(), states.end(), [](const auto& a, const auto& b) { return a.service.key < b.service.key; });
    for (auto& state : states) std::sort(state.destinations.begin(), state.destinations.end());
    return states;
}

// On an IPVS without services, which it leaves so.
inline void hold_to_contract(Ipvs& ipvs, net::Family family) {
    const bool ipv4 = family == net::Family::kIpv4;
    const auto web = service_key(ipv4 ? "10.96.0.1" : "fd00:96::1", 80);
    const auto dns = service_key(ipv4 ? "10.96.0.1" : "fd00:96::1", 80, net::Protocol::kUdp);
    const auto one = destination(ipv4 ? "10.0.1.1" : "fd00:1::1", 8080);
    const auto two = destination(ipv4 ? "10.0.1.2" : "fd00:1::2", 8080, 7);
    auto drained = one;
    drained.weight = 0;
    auto heavy = two;
    heavy.weight = 1U << 31U;
    auto upside_down = two;
    upside_down.lower_threshold = 2;
    upside_down.upper_threshold = 1;
    auto limited = two;
    limited.lower_threshold = 5;
    limited.upper_threshold = 9;
    const auto stranger = destination(ipv4 ? "fd00:1::1" : "10.0.1.1", 8080);
    const auto many = destination(ipv4 ? "239.1.1.1" : "ff0e::1", 8080);
    const auto all = destination(ipv4 ? "255.255.255.255" : "ff02::1", 8080);
    auto sticky = service(web, "mh", kPersistent | kScheduler2, 10800);
    sticky.client_bits = ipv4 ? 24 : 64;
    auto long_name = service(web, "a-scheduler-that-nobody-has");
    auto no_bits = service(service_key(ipv4 ? "10.96.0.9" : "fd00:96::9", 80));
    no_bits.client_bits = 0;

    struct Step {
        std::string_view name;
        Command command;
        int refusal;
    };
    const std::vector<Step> steps{
        {"change a service that is not there", {Verb::kSetService, service(web), {}}, ESRCH},
        {"delete a service that is not there", {Verb::kDeleteService, service(web), {}}, ESRCH},
        {"a destination without a service", {Verb::kNewDestination, service(web), one}, ESRCH},
        {"a scheduler that is not there", {Verb::kNewService, service(web, "nosuch"), {}}, ENOENT},
        {"a new service", {Verb::kNewService, service(web), {}}, 0},
        {"a service that is there", {Verb::kNewService, service(web, "wrr"), {}}, EEXIST},
        {"another protocol", {Verb::kNewService, service(dns, "rr", kOnePacket), {}}, 0},
        {"change to a scheduler that is not there", {Verb::kSetService, service(web, "nosuch"), {}}, ENOENT},
        {"a new destination", {Verb::kNewDestination, service(web), one}, 0},
        {"a destination that is there", {Verb::kNewDestination, service(web), one}, EEXIST},
        {"another destination", {Verb::kNewDestination, service(web), two}, 0},
        {"change a destination that is not there", {Verb::kSetDestination, service(dns), one}, ENOENT},
        {"delete a destination that is not there", {Verb::kDeleteDestination, service(dns), one}, ENOENT},
        {"a weight below zero", {Verb::kSetDestination, service(web), heavy}, ERANGE},
        {"thresholds upside down", {Verb::kSetDestination, service(web), upside_down}, ERANGE},
        {"a destination of the other family", {Verb::kNewDestination, service(web), stranger}, EINVAL},
        {"a destination that is a group", {Verb::kNewDestination, service(web), many}, EINVAL},
        {"a destination that is everybody", {Verb::kNewDestination, service(web), all}, EINVAL},
        {"drain a destination", {Verb::kSetDestination, service(web), drained}, 0},
        {"limit a destination", {Verb::kSetDestination, service(web), limited}, 0},
        {"change all of a service", {Verb::kSetService, sticky, {}}, 0},
        {"no bits of a client", {Verb::kNewService, no_bits, {}}, ipv4 ? 0 : EINVAL},
    };
    std::vector<Command> commands;
    commands.reserve(steps.size());
    for (const auto& step : steps) commands.push_back(step.command);
    const auto refusals = ipvs.apply(commands);
    ASSERT_TRUE(refusals) << refusals.error().message;
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const auto refusal = std::find_if(refusals->begin(), refusals->end(), [&](auto& r) { return r.command == i; });
        EXPECT_EQ(refusal == refusals->end() ? 0 : refusal->error.code, steps[i].refusal) << steps[i].name;
    }

    const auto contents = ipvs.contents();
    ASSERT_TRUE(contents) << contents.error().message;
    const auto found = sorted(*contents);
    ASSERT_EQ(found.size(), ipv4 ? 3U : 2U);
    EXPECT_EQ(found[0].service, sticky);
    EXPECT_EQ(found[0].destinations, (std::vector{drained, limited}));
    EXPECT_EQ(found[1].service, service(dns, "rr", kOnePacket));
    EXPECT_TRUE(found[1].destinations.empty());
    if (ipv4) {
        EXPECT_EQ(found[2].service, no_bits);
    }
    EXPECT_TRUE(ipvs.destinations(service_key(ipv4 ? "10.96.0.7" : "fd00:96::7", 80))->empty());

    EXPECT_TRUE(ipvs.contains(web).value());
    EXPECT_FALSE(ipvs.contains(service_key(ipv4 ? "10.96.0.7" : "fd00:96::7", 80)).value());
    EXPECT_FALSE(ipvs.contains(service_key(ipv4 ? "10.96.0.1" : "fd00:96::1", 81)).value());

    std::vector<Command> away{{Verb::kDeleteDestination, service(web), one},
                              {Verb::kDeleteService, service(web), {}},
                              {Verb::kDeleteService, service(dns), {}},
                              {Verb::kDeleteDestination, service(web), two},
                              {Verb::kNewService, long_name, {}}};
    if (ipv4) away.push_back({Verb::kDeleteService, no_bits, {}});
    const auto last = ipvs.apply(away);
    ASSERT_TRUE(last) << last.error().message;
    ASSERT_EQ(last->size(), 2U);
    EXPECT_EQ((*last)[0].command, 3U);
    EXPECT_EQ((*last)[0].error.code, ESRCH);
    EXPECT_EQ((*last)[1].command, 4U);
    EXPECT_EQ((*last)[1].error.code, EINVAL);  // the name is too long to be one
    EXPECT_TRUE(ipvs.services()->empty());
}

}  // namespace ghostip::kernel::ipvs

// What ip_set does, as one story: the twin has to do the same as the kernel, so both are held to it (memory_test.cpp,
// and test/kernel/ipset_kernel_test.cpp). For tests.
#pragma once

#include <algorithm>
#include <cerrno>

#include <gtest/gtest.h>

#include "kernel/ipset/ipset.h"

namespace ghostip::kernel::ipset {

inline Element element(std::string_view address, net::Protocol protocol, std::uint16_t port,
                       std::optional<net::Prefix> other = std::nullopt) {
    return {net::IpAddress::parse(address).value(), protocol, port, other};
}
inline Element element(std::string_view address) { return {net::IpAddress::parse(address).value(), {}, 0, {}}; }
inline Element element(std::uint16_t port) { return {{}, {}, port, {}}; }
inline net::Prefix range(std::string_view text) { return net::Prefix::parse_lenient(text).value(); }
inline net::Prefix host(std::string_view text) { return net::Prefix::host(net::IpAddress::parse(text).value()); }

// Two elements of the type, then one that it cannot hold, if there is one.
inline std::vector<Element> samples(Type type, net::Family family) {
    const bool ipv4 = family == net::Family::kIpv4;
    const auto* one = ipv4 ? "10.96.0.1" : "fd00:96::1";
    const auto* other = ipv4 ? "10.96.0.2" : "fd00:96::2";
    const auto* strange = ipv4 ? "fd00:96::1" : "10.96.0.1";
    using net::Protocol;
    switch (type) {
        case Type::kIpPort:
            return {element(one, Protocol::kTcp, 80), element(other, Protocol::kSctp, 80),
                    element(strange, Protocol::kTcp, 80)};
        case Type::kIpPortIp:
            return {element(one, Protocol::kTcp, 80, host(one)), element(one, Protocol::kUdp, 53, host(other)),
                    element(one, Protocol::kTcp, 80, host(strange))};
        case Type::kIpPortNet:
            return {element(one, Protocol::kTcp, 80, range(ipv4 ? "192.0.2.0/24" : "2001:db8::/48")),
                    element(one, Protocol::kTcp, 80, range(ipv4 ? "128.0.0.0/1" : "8000::/1")),
                    element(one, Protocol::kTcp, 80, range(ipv4 ? "0.0.0.0/0" : "::/0"))};
        case Type::kIp: return {element(one), element(other), element(strange)};
        case Type::kPort: return {element(std::uint16_t{0}), element(std::uint16_t{65535})};
    }
    return {};
}

inline std::vector<Element> sorted_elements(const Result<std::optional<Contents>>& contents) {
    EXPECT_TRUE(contents) << (contents ? "" : contents.error().message);
    if (!contents || !*contents) return {};
    auto elements = (*contents)->elements;
    std::sort(elements.begin(), elements.end());
    return elements;
}

// Without sets before and after.
inline void hold_to_contract(Sets& sets, Type type, net::Family family) {
    const Definition definition{"ONE", type, family, 1024, 3};
    const auto all = samples(type, family);
    auto good = std::vector<Element>(all.begin(), all.begin() + 2);
    EXPECT_FALSE(sets.contents("ONE")->has_value());
    EXPECT_EQ(sets.add("ONE", type, good).error().code, ENOENT);
    EXPECT_EQ(sets.destroy("ONE").value_or(true), false);

    auto created = sets.create(definition);
    ASSERT_TRUE(created) << created.error().message;
    // Refused is what cannot be held, and nothing behind it.
    auto in_turn = all;
    std::rotate(in_turn.begin(), in_turn.begin() + static_cast<std::ptrdiff_t>(in_turn.size() - 1), in_turn.end());
    const auto refusals = sets.add("ONE", type, in_turn);
    ASSERT_TRUE(refusals) << refusals.error().message;
    ASSERT_EQ(refusals->size(), all.size() - 2);
    if (all.size() == 3) {
        EXPECT_EQ(refusals->front().element, 0U);
        EXPECT_EQ(refusals->front().error.code, EINVAL) << refusals->front().error.message;
        EXPECT_EQ(sets.remove("ONE", type, in_turn)->size(), 1U);
        EXPECT_TRUE(sorted_elements(sets.contents("ONE")).empty());
        EXPECT_TRUE(sets.add("ONE", type, good)->empty());
    }
    std::sort(good.begin(), good.end());
    EXPECT_EQ(sorted_elements(sets.contents("ONE")), good);
    EXPECT_TRUE(sets.add("ONE", type, good)->empty()) << "what is there is refused";
    EXPECT_TRUE(sets.create(definition)) << "a set like it";
    EXPECT_EQ(sorted_elements(sets.contents("ONE")), good);

    const auto contents = sets.contents("ONE");
    ASSERT_TRUE(contents && *contents);
    const auto& header = (*contents)->header;
    EXPECT_EQ(header.name, "ONE");
    EXPECT_EQ(header.type, type);
    EXPECT_EQ(header.type_name, type_name(type));
    EXPECT_EQ(header.references, 0U);
    EXPECT_EQ(header.elements, 2U);
    if (type == Type::kPort) {
        EXPECT_FALSE(header.family);
    } else {
        EXPECT_EQ(header.family, family);
        EXPECT_EQ(header.hash_size, 1024U);
        EXPECT_EQ(header.most_elements, 3U);
        auto other = definition;
        other.most_elements = 4;
        EXPECT_EQ(sets.create(other).error().code, EEXIST);
        other = definition;
        other.family = family == net::Family::kIpv4 ? net::Family::kIpv6 : net::Family::kIpv4;
        EXPECT_EQ(sets.create(other).error().code, EEXIST);
    }

    // Swapping exchanges the elements, not the names.
    auto second = definition;
    second.name = "TWO";
    ASSERT_TRUE(sets.create(second));
    EXPECT_EQ(sets.swap("ONE", "NONE").error().code, ENOENT);
    EXPECT_EQ(sets.swap("NONE", "ONE").error().code, ENOENT);
    const auto swapped = sets.swap("ONE", "TWO");
    EXPECT_TRUE(swapped) << swapped.error().message;
    EXPECT_TRUE(sorted_elements(sets.contents("ONE")).empty());
    EXPECT_EQ(sorted_elements(sets.contents("TWO")), good);
    ASSERT_TRUE(sets.create({"THREE", type == Type::kIp ? Type::kIpPort : Type::kIp, family, 1024, 3}));
    EXPECT_EQ(sets.swap("ONE", "THREE").error().code, EINVAL);

    EXPECT_TRUE(sets.remove("TWO", type, std::vector{good[0], good[0]})->empty()) << "what is not there is refused";
    EXPECT_EQ(sorted_elements(sets.contents("TWO")), std::vector{good[1]});
    const auto headers = sets.headers();
    ASSERT_TRUE(headers) << headers.error().message;
    std::vector<std::string> names;
    names.reserve(headers->size());
    for (const auto& each : *headers) names.push_back(each.name);
    EXPECT_EQ(names, (std::vector<std::string>{"ONE", "THREE", "TWO"}));
    for (const auto& name : names) EXPECT_EQ(sets.destroy(name).value_or(false), true) << name;
    EXPECT_TRUE(sets.headers()->empty());
    EXPECT_EQ(sets.create({std::string(kLongestName + 1, 'n'), type, family, 1024, 3}).error().code, EINVAL);
}

// A set holds so much and no more.
inline void hold_to_size(Sets& sets) {
    ASSERT_TRUE(sets.create({"FULL", Type::kIp, net::Family::kIpv4, 64, 2}));
    const std::vector<Element> four{element("10.0.0.1"), element("10.0.0.2"), element("10.0.0.3"), element("10.0.0.1")};
    const auto refusals = sets.add("FULL", Type::kIp, four);
    ASSERT_TRUE(refusals) << refusals.error().message;
    ASSERT_EQ(refusals->size(), 1U);
    EXPECT_EQ(refusals->front().element, 2U);
    EXPECT_EQ(refusals->front().error.code, ENOSPC);
    EXPECT_EQ((*sets.contents("FULL"))->header.elements, 2U);
    EXPECT_TRUE(*sets.destroy("FULL"));
}

}  // namespace ghostip::kernel::ipset

#include "kernel/ipset/messages.h"

#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>

#include <gtest/gtest.h>

#include "kernel/ipset/contract_testing.h"

namespace ghostip::kernel::ipset {
namespace {

// Elements have one layout in requests and in answers; a set's first part also has its header.
nlmsghdr* put_part(netlink::Request& request, Type type, std::span<const Element> elements, bool first_part) {
    std::size_t next = 0;
    nlmsghdr* message = put_elements(request, Verb::kAdd, "SET", type, elements, 0, next);
    EXPECT_EQ(next, elements.size());
    if (!first_part) return message;
    mnl_attr_put_strz(message, IPSET_ATTR_TYPENAME, std::string(type_name(type)).c_str());
    mnl_attr_put_u8(message, IPSET_ATTR_FAMILY, type == Type::kPort ? 0 : elements[0].address.is_ipv4() ? 2 : 10);
    return message;
}

TEST(IpsetMessages, ElementsComeBack) {
    for (const auto type : kTypes)
        for (const auto family : net::kFamilies) {
            auto elements = samples(type, family);
            elements.resize(2);
            std::vector<Contents> sets;
            netlink::Request request;
            ASSERT_TRUE(read_part(put_part(request, type, elements, true), sets));
            ASSERT_EQ(sets.size(), 1U);
            EXPECT_TRUE(read_part(put_part(request, type, elements, false), sets));
            elements.insert(elements.end(), elements.begin(), elements.begin() + 2);
            EXPECT_EQ(sets[0].elements, elements) << type_name(type);
        }
}

TEST(IpsetMessages, APartBelongsToTheSetBeforeIt) {
    const std::vector<Element> one{element("10.0.0.1")};
    netlink::Request request;
    std::vector<Contents> sets;
    EXPECT_FALSE(read_part(put_part(request, Type::kIp, one, false), sets));
    Contents other;
    other.header.name = "OTHER";
    other.header.type = Type::kIp;
    sets.push_back(other);
    EXPECT_FALSE(read_part(put_part(request, Type::kIp, one, false), sets));
}

TEST(IpsetMessages, CutAnswersAreNeverReadBeyondTheirEnd) {
    const std::vector<Element> one{element("10.0.0.1", net::Protocol::kTcp, 80, range("10.0.0.0/8"))};
    netlink::Request request;
    const nlmsghdr* message = put_part(request, Type::kIpPortNet, one, true);
    for (std::size_t length = NLMSG_HDRLEN + sizeof(nfgenmsg); length < message->nlmsg_len; ++length) {
        std::vector<char> cut(request.bytes.begin(), request.bytes.begin() + static_cast<std::ptrdiff_t>(length));
        auto* answer = reinterpret_cast<nlmsghdr*>(cut.data());
        answer->nlmsg_len = static_cast<std::uint32_t>(length);
        std::vector<Contents> sets;
        if (read_part(answer, sets)) {
            EXPECT_LE(sets[0].elements.size(), 1U);
        }
        EXPECT_EQ(refused_line(answer), std::nullopt);
    }
}

TEST(IpsetMessages, SoManyElementsAsFit) {
    const std::vector<Element> many(1000, element("fd00::1", net::Protocol::kTcp, 80, range("fd00::/8")));
    std::size_t messages = 0;
    for (std::size_t first = 0, next = 0; first < many.size(); first = next, ++messages) {
        netlink::Request request;
        const auto* message =
            put_elements(request, Verb::kRemove, std::string(kLongestName, 'n'), Type::kIpPortNet, many, first, next);
        ASSERT_GT(next, first);
        ASSERT_LE(message->nlmsg_len, request.bytes.size());
    }
    EXPECT_LT(messages, 20U);
}

TEST(IpsetMessages, Revisions) {
    struct Case {
        Type type;
        Revisions known;
        std::uint8_t expected;
    };
    for (const auto& c : std::vector<Case>{{Type::kIpPort, {0, 7}, 5},
                                           {Type::kIpPort, {0, 3}, 3},
                                           {Type::kIpPortNet, {1, 9}, 7},
                                           {Type::kIp, {6, 8}, 6},
                                           {Type::kPort, {0, 3}, 3}})
        EXPECT_EQ(revision_of(c.type, c.known), c.expected) << type_name(c.type);
}

TEST(IpsetMessages, NumbersAboveErrno) {
    EXPECT_EQ(errno_of(ENOENT), ENOENT);
    EXPECT_EQ(errno_of(IPSET_ERR_BUSY), EBUSY);
    EXPECT_EQ(errno_of(IPSET_ERR_TYPE_SPECIFIC), ENOSPC);
    EXPECT_EQ(errno_of(IPSET_ERR_INVALID_CIDR), EINVAL);
}

}  // namespace
}  // namespace ghostip::kernel::ipset

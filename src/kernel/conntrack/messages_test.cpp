#include "kernel/conntrack/messages.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include <array>
#include <cstring>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "kernel/netlink/attributes.h"

namespace ghostip::kernel::conntrack {
namespace {

struct Buffer {
    alignas(nlmsghdr) std::array<char, kRequestBytes> bytes{};
    void* data() { return bytes.data(); }
};

net::IpAddress ip(std::string_view text) { return net::IpAddress::parse(text).value(); }

std::map<std::uint16_t, const nlattr*> parts(const nlmsghdr* message) {
    std::map<std::uint16_t, const nlattr*> result;
    for (const nlattr* part : netlink::attributes(message, sizeof(nfgenmsg))) result[mnl_attr_get_type(part)] = part;
    return result;
}
std::map<std::uint16_t, const nlattr*> parts(const nlattr* nest) {
    std::map<std::uint16_t, const nlattr*> result;
    for (const nlattr* part : netlink::nested(nest)) result[mnl_attr_get_type(part)] = part;
    return result;
}

Entry entry_of(const net::IpAddress& client, const net::IpAddress& dialled, const net::IpAddress& answerer) {
    return {{{client, 1000}, {dialled, 53}}, {{answerer, 5353}, {client, 1000}}, {7, 0, 0}, 0x12345678};
}

TEST(ConntrackMessages, ARemovalNamesTheReplyAndTheId) {
    for (const bool v6 : {false, true}) {
        const auto entry = v6 ? entry_of(ip("fd00:9::9"), ip("fd00:30::1"), ip("fd00::1"))
                              : entry_of(ip("10.9.9.9"), ip("172.30.0.1"), ip("10.0.0.1"));
        Buffer buffer;
        const auto* message = put_removal(buffer.data(), 3, entry);
        EXPECT_LE(message->nlmsg_len, kRequestBytes);
        EXPECT_EQ(message->nlmsg_type, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE);
        EXPECT_EQ(message->nlmsg_flags & NLM_F_DUMP, 0);
        const auto all = parts(message);
        // Without a tuple the message would mean: remove everything.
        ASSERT_TRUE(all.contains(CTA_TUPLE_REPLY));
        ASSERT_FALSE(all.contains(CTA_TUPLE_ORIG)) << "then the kernel would not read the reply's";
        EXPECT_EQ(ntohl(mnl_attr_get_u32(all.at(CTA_ID))), entry.id);
        EXPECT_EQ(ntohs(mnl_attr_get_u16(all.at(CTA_ZONE))), 7);
        const auto proto = parts(parts(all.at(CTA_TUPLE_REPLY)).at(CTA_TUPLE_PROTO));
        EXPECT_EQ(mnl_attr_get_u8(proto.at(CTA_PROTO_NUM)), IPPROTO_UDP);
        EXPECT_EQ(ntohs(mnl_attr_get_u16(proto.at(CTA_PROTO_SRC_PORT))), 5353);
    }
}

TEST(ConntrackMessages, AListIsFilteredByWhatTheKernelComparesRightly) {
    struct Case {
        const char* name;
        Filter filter;
        bool address;
        std::uint32_t flags;
    };
    const std::vector<Case> cases{
        {"IPv4 address and port", {net::Family::kIpv4, ip("172.30.0.1"), std::uint16_t{53}}, true, 2 | 8 | 32},
        {"IPv4 port", {net::Family::kIpv4, {}, std::uint16_t{53}}, false, 8 | 32},
        {"IPv4 UDP", {net::Family::kIpv4, {}, {}}, false, 8},
        {"IPv6 address and port", {net::Family::kIpv6, ip("fd00:30::1"), std::uint16_t{53}}, false, 8 | 32},
        {"IPv6 UDP", {net::Family::kIpv6, {}, {}}, false, 8},
    };
    for (const auto& c : cases) {
        Buffer buffer;
        const auto* message = put_dump(buffer.data(), 1, c.filter, FilteredBy::kKernel);
        EXPECT_EQ(message->nlmsg_flags & NLM_F_DUMP, NLM_F_DUMP) << c.name;
        const auto all = parts(message);
        EXPECT_EQ(mnl_attr_get_u32(parts(all.at(CTA_FILTER)).at(CTA_FILTER_ORIG_FLAGS)), c.flags) << c.name;
        EXPECT_EQ(parts(all.at(CTA_TUPLE_ORIG)).contains(CTA_TUPLE_IP), c.address) << c.name;
        EXPECT_TRUE(parts(put_dump(buffer.data(), 1, c.filter, FilteredBy::kNobody)).empty()) << c.name;
    }
}

TEST(ConntrackMessages, ReadsNothingButWholeUdpEntries) {
    // A removal is an entry without its original tuple.
    Buffer buffer;
    auto* message = put_removal(buffer.data(), 1, entry_of(ip("10.9.9.9"), ip("172.30.0.1"), ip("10.0.0.1")));
    EXPECT_FALSE(read_entry(message));
    // With the same tuple in its place it is whole.
    const nlattr* reply = parts(message).at(CTA_TUPLE_REPLY);
    mnl_attr_put(message, CTA_TUPLE_ORIG, mnl_attr_get_payload_len(reply), mnl_attr_get_payload(reply));
    const auto entry = read_entry(message);
    ASSERT_TRUE(entry);
    EXPECT_EQ(entry->original, entry->reply);
    EXPECT_EQ(entry->zones.both, 7);
    for (const int protocol : {IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_ICMP}) {
        const nlattr* number = parts(parts(parts(message).at(CTA_TUPLE_ORIG)).at(CTA_TUPLE_PROTO)).at(CTA_PROTO_NUM);
        *static_cast<std::uint8_t*>(mnl_attr_get_payload(number)) = static_cast<std::uint8_t>(protocol);
        EXPECT_FALSE(read_entry(message)) << protocol;
    }
}

// Whatever bytes follow the header, reading ends and stays inside.
RC_GTEST_PROP(ConntrackMessages, AnyBytesAreRead, (const std::vector<std::uint8_t>& bytes)) {
    std::vector<char> message(NLMSG_HDRLEN + sizeof(nfgenmsg) + bytes.size());
    auto* header = reinterpret_cast<nlmsghdr*>(message.data());
    header->nlmsg_len = static_cast<std::uint32_t>(message.size());
    if (!bytes.empty()) std::memcpy(message.data() + NLMSG_HDRLEN + sizeof(nfgenmsg), bytes.data(), bytes.size());
    static_cast<void>(read_entry(header));
}

}  // namespace
}  // namespace ghostip::kernel::conntrack

#include "kernel/ipvs/messages.h"

#include <linux/genetlink.h>
#include <linux/ip_vs.h>

#include <gtest/gtest.h>

#include "kernel/ipvs/contract_testing.h"

namespace ghostip::kernel::ipvs {
namespace {

// What a command says of a service has the layout of an answer.
TEST(IpvsMessages, ServicesComeBack) {
    auto sticky = service(service_key("fd00:96::1", 443), "mh", kPersistent | kScheduler3, 60);
    sticky.client_bits = 48;
    auto marked = service(service_key("0.0.0.0", 0));
    marked.key.mark = 9;
    auto wide = service(service_key("10.0.0.1", 1));
    wide.client_bits = 0;
    auto with_engine = service(service_key("10.0.0.1", 5060, net::Protocol::kUdp));
    with_engine.engine = "sip";
    for (const auto& wanted :
         {service(service_key("10.96.0.1", 80, net::Protocol::kSctp)), sticky, marked, wide, with_engine}) {
        netlink::Request request;
        const auto found = read_service(put_command(request, 33, {Verb::kNewService, wanted, {}}));
        ASSERT_TRUE(found) << text(wanted.key);
        EXPECT_EQ(*found, wanted) << text(wanted.key);
    }
}

TEST(IpvsMessages, DestinationsComeBack) {
    auto wanted = destination("fd00:1::1", 8080, 5);
    wanted.forwarding = Forwarding::kTunnel;
    wanted.upper_threshold = 3;
    wanted.lower_threshold = 2;
    netlink::Request request;
    const Command command{Verb::kNewDestination, service(service_key("10.96.0.1", 80)), wanted};
    EXPECT_EQ(read_destination(put_command(request, 33, command), net::Family::kIpv4), wanted);
}

// A name of any length is cut, and the kernel refuses it.
TEST(IpvsMessages, NothingIsTooLongForItsMessage) {
    netlink::Request request;
    auto wanted = service(service_key("10.96.0.1", 80), std::string(100000, 's'));
    wanted.engine = std::string(100000, 'e');
    const nlmsghdr* message = put_command(request, 33, {Verb::kSetService, wanted, {}});
    EXPECT_LT(message->nlmsg_len, 512U);
}

// Of every length that an answer can be cut to, none is read beyond its end, and none as something else.
TEST(IpvsMessages, CutAnswersAreNone) {
    netlink::Request request;
    const Command command{Verb::kNewDestination, service(service_key("10.96.0.1", 80)), destination("10.0.0.1", 80)};
    nlmsghdr* message = put_command(request, 33, command);
    const std::vector<char> whole(request.bytes.begin(), request.bytes.begin() + message->nlmsg_len);
    for (std::size_t length = NLMSG_HDRLEN + GENL_HDRLEN; length < whole.size(); ++length) {
        std::vector<char> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
        auto* answer = reinterpret_cast<nlmsghdr*>(cut.data());
        answer->nlmsg_len = static_cast<std::uint32_t>(length);
        EXPECT_FALSE(read_destination(answer, net::Family::kIpv4)) << length;
    }
}

TEST(IpvsMessages, ForeignNumbers) {
    netlink::Request request;
    nlmsghdr* message = put_command(request, 33, {Verb::kNewService, service(service_key("10.96.0.1", 80)), {}});
    EXPECT_TRUE(read_service(message));
    for (char& byte : request.bytes)
        if (byte == AF_INET && &byte > request.bytes.data() + 24) {
            byte = 77;  // a family that nobody knows
            break;
        }
    EXPECT_FALSE(read_service(message));
    EXPECT_FALSE(read_service(put_get_info(request, 33)));
    EXPECT_FALSE(read_family(put_get_info(request, 33)));
    const auto none = read_timeouts(put_get_timeouts(request, 33));
    ASSERT_TRUE(none);
    EXPECT_EQ(*none, Timeouts{});
    EXPECT_EQ(read_timeouts(put_set_timeouts(request, 33, {1, 2, 3})), (Timeouts{1, 2, 3}));
}

}  // namespace
}  // namespace ghostip::kernel::ipvs

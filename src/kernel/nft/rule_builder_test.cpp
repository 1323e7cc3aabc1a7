#include "kernel/nft/rule_builder.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ghostip::kernel::nft {
namespace {

using net::Family;

Bytes host_order(std::uint32_t value) {
    Bytes bytes(sizeof value);
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
}

net::Prefix prefix(std::string_view text) { return net::Prefix::parse_lenient(text).value(); }

// Text and expressions side by side: they must tell the same story.
TEST(RuleBuilder, TextAndExpressions) {
    struct Case {
        const char* name;
        Rule rule;
        std::string text;
        std::vector<Expression> expressions;
    };
    const Verdict drop{Verdict::Kind::kDrop, ""};
    const Key destination{select::kDestination, select::kProtocol, select::kDestinationPort};
    const auto v4 = [] { return RuleBuilder(Family::kIpv4); };
    const auto v6 = [] { return RuleBuilder(Family::kIpv6); };
    using Base = Payload::Base;
    const Case cases[] = {
        {"a set",
         std::move(v4().in_set(destination, "s")).drop(),
         "ip daddr . meta l4proto . th dport @s drop",
         {Payload{Base::kNetwork, 16, 4, 0}, Meta{MetaKey::kL4Protocol, 1}, Payload{Base::kTransport, 2, 2, 2},
          Lookup{"s", 0, std::nullopt}, drop}},
        {"a set, IPv6: an address fills four registers",
         std::move(v6().in_set(destination, "s")).drop(),
         "ip6 daddr . meta l4proto . th dport @s drop",
         {Payload{Base::kNetwork, 24, 16, 0}, Meta{MetaKey::kL4Protocol, 4}, Payload{Base::kTransport, 2, 2, 5},
          Lookup{"s", 0, std::nullopt}, drop}},
        {"a masked source",
         std::move(v4().in_set({select::masked_source(25)}, "s")).drop(),
         "ip saddr & 255.255.255.128 @s drop",
         {Payload{Base::kNetwork, 12, 4, 0}, Bitwise{0, {255, 255, 255, 128}, {0, 0, 0, 0}},
          Lookup{"s", 0, std::nullopt}, drop}},
        {"a range",
         std::move(v4().source(prefix("10.0.0.0/9"))).drop(),
         "ip saddr 10.0.0.0/9 drop",
         {Payload{Base::kNetwork, 12, 4, 0}, Bitwise{0, {255, 128, 0, 0}, {0, 0, 0, 0}},
          Compare{true, 0, {10, 0, 0, 0}}, drop}},
        {"one address, negated",
         std::move(v4().destination(prefix("10.0.0.1/32"), false)).drop(),
         "ip daddr != 10.0.0.1 drop",
         {Payload{Base::kNetwork, 16, 4, 0}, Compare{false, 0, {10, 0, 0, 1}}, drop}},
        {"a range that was dialled",
         std::move(v4().original_destination(prefix("127.0.0.0/8"), false)).drop(),
         "ct original ip daddr != 127.0.0.0/8 drop",
         {Ct{CtKey::kOriginalDestination, 0}, Bitwise{0, {255, 0, 0, 0}, {0, 0, 0, 0}},
          Compare{false, 0, {127, 0, 0, 0}}, drop}},
        {"an interface: the whole name with its end",
         std::move(v4().input_interface("cni0", false)).drop(),
         "iifname != \"cni0\" drop",
         {Meta{MetaKey::kInputInterfaceName, 0},
          Compare{false, 0, {'c', 'n', 'i', '0', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, drop}},
        {"a prefix of an interface",
         std::move(v4().input_interface_prefix("cni")).drop(),
         "iifname \"cni*\" drop",
         {Meta{MetaKey::kInputInterfaceName, 0}, Compare{true, 0, {'c', 'n', 'i'}}, drop}},
        {"local addresses",
         std::move(v4().source_is_local()).drop(),
         "fib saddr type local drop",
         {FibType{true, 0}, Compare{true, 0, host_order(2)}, drop}},
        {"new connections",
         std::move(v4().connection_is_new()).drop(),
         "ct state new drop",
         {Ct{CtKey::kState, 0}, Bitwise{0, host_order(8), host_order(0)}, Compare{false, 0, host_order(0)}, drop}},
        {"translated connections",
         std::move(v4().connection_is_dnat()).drop(),
         "ct status dnat drop",
         {Ct{CtKey::kStatus, 0}, Bitwise{0, host_order(32), host_order(0)}, Compare{false, 0, host_order(0)}, drop}},
        {"a mark: no other bit is touched",
         std::move(v4().mark_has(0x4000).clear_mark(0x4000)).masquerade(),
         "meta mark & 0x00004000 != 0x00000000 meta mark set meta mark & 0xffffbfff masquerade fully-random",
         {Meta{MetaKey::kMark, 0}, Bitwise{0, host_order(0x4000), host_order(0)}, Compare{false, 0, host_order(0)},
          Meta{MetaKey::kMark, 0}, Bitwise{0, host_order(0xffffbfff), host_order(0)}, Meta{MetaKey::kMark, 0, true},
          Masquerade{}}},
        {"a mark set",
         std::move(v4().set_mark(1)).go_to("c"),
         "meta mark set meta mark | 0x00000001 goto c",
         {Meta{MetaKey::kMark, 0}, Bitwise{0, host_order(0xfffffffe), host_order(1)}, Meta{MetaKey::kMark, 0, true},
          Verdict{Verdict::Kind::kGoto, "c"}}},
        {"translation",
         v6().dnat_from(Key{select::kProtocol} + Key{select::random(8)}, "m"),
         "dnat ip6 to meta l4proto . numgen random mod 8 map @m",
         {Meta{MetaKey::kL4Protocol, 0}, RandomNumber{8, 1}, Lookup{"m", 0, std::uint8_t{0}}, Dnat{0, 4}}},
        {"a map that is written: data stands behind the key",
         std::move(v4().protocol(net::Protocol::kTcp)
                       .update_map({select::kOriginalSource, select::kOriginalDestinationPort}, "m"))
             .done(),
         "tcp sport != 0 update @m { ct original ip saddr . ct original proto-dst : ip daddr . tcp dport }",
         {Meta{MetaKey::kL4Protocol, 0}, Compare{true, 0, {6}}, Payload{Base::kTransport, 0, 2, 0},
          Compare{false, 0, {0, 0}}, Ct{CtKey::kOriginalSource, 0}, Ct{CtKey::kOriginalDestinationPort, 1},
          Payload{Base::kNetwork, 16, 4, 2}, Payload{Base::kTransport, 2, 2, 3}, UpdateMap{"m", 0, 2}}},
        {"UDP by its length",
         std::move(v4().protocol(net::Protocol::kUdp)).drop(),
         "udp length != 0 drop",
         {Meta{MetaKey::kL4Protocol, 0}, Compare{true, 0, {17}}, Payload{Base::kTransport, 4, 2, 0},
          Compare{false, 0, {0, 0}}, drop}},
        {"verdicts", v4().jump("c"), "jump c", {Verdict{Verdict::Kind::kJump, "c"}}},
        {"return", v4().return_(), "return", {Verdict{Verdict::Kind::kReturn, ""}}},
        {"reject", v4().reject(), "reject", {Reject{}}},
    };
    for (const auto& c : cases) {
        EXPECT_EQ(c.rule.text, c.text) << c.name;
        EXPECT_TRUE(c.rule.expressions == c.expressions) << c.name;
    }
}

TEST(RuleBuilder, CommentsStandBeside) {
    const Rule rule = std::move(RuleBuilder(Family::kIpv4).comment("why")).drop();
    EXPECT_EQ(rule.text, "drop");
    EXPECT_EQ(rule.comment, "why");
    EXPECT_EQ(to_text(Chain{"c", std::nullopt, {rule}}), "\tchain c {\n\t\tdrop comment \"why\"\n\t}\n");
}

TEST(Text, SetsAndBaseChains) {
    EXPECT_EQ(
        to_text(Set{.name = "s", .key = {Field::kAddress, Field::kProtocol, Field::kPort}, .size = 5, .comment = "c"},
                Family::kIpv6),
        "\tset s {\n\t\ttype ipv6_addr . inet_proto . inet_service\n\t\tsize 5\n\t\tcomment \"c\"\n\t}\n");
    EXPECT_EQ(
        to_text(Set{.name = "m", .key = {Field::kPort, Field::kNumber}, .data = {Field::kAddress}}, Family::kIpv4),
        "\tmap m {\n\t\ttypeof th dport . numgen random mod 1 : ip daddr\n\t}\n");
    EXPECT_EQ(to_text(Set{.name = "t", .key = {Field::kAddress}, .data = {Field::kPort}, .timeout_seconds = 60},
                      Family::kIpv4),
              "\tmap t {\n\t\ttype ipv4_addr : inet_service\n\t\tflags dynamic,timeout\n\t\ttimeout 60s\n\t}\n");
    EXPECT_EQ(to_text(Chain{"b", BaseChain{ChainType::kNat, Hook::kOutput, -99}, {}}),
              "\tchain b {\n\t\ttype nat hook output priority -99; policy accept;\n\t}\n");
}

}  // namespace
}  // namespace ghostip::kernel::nft

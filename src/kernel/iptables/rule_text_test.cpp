#include "kernel/iptables/rule_text.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernel/iptables/text.h"

namespace ghostip::kernel::iptables {
namespace {

net::Prefix prefix(std::string_view text) { return net::Prefix::parse_lenient(text).value(); }
net::IpAddress ip(std::string_view text) { return net::IpAddress::parse(text).value(); }

using Write = void (*)(RuleText& rule);

struct Row {
    const char* name;
    net::Family family;
    Write write;
    const char* restore;
    const char* saved;
};

constexpr auto kV4 = net::Family::kIpv4;
constexpr auto kV6 = net::Family::kIpv6;

// That real programs print the saved form is shown by packets.iptables; here the two forms are there to be read.
const std::vector<Row>& rows() {
    static const std::vector<Row> rows{
        {"cluster IP", kV4,
         [](RuleText& rule) {
             rule.begin("-A", "SVC")
                 .source(prefix("10.1.0.0/16"), Sense::kIsNot)
                 .destination(prefix("10.96.0.7/32"))
                 .protocol(net::Protocol::kTcp)
                 .comment("shop/web:http cluster IP")
                 .destination_port(net::Protocol::kTcp, 80)
                 .jump("MASQ")
                 .end();
         },
         "-A SVC ! -s 10.1.0.0/16 -d 10.96.0.7 -p tcp -m comment --comment \"shop/web:http cluster IP\" -m tcp "
         "--dport 80 -j MASQ\n",
         "-A SVC ! -s 10.1.0.0/16 -d 10.96.0.7/32 -p tcp -m comment --comment \"shop/web:http cluster IP\" -m tcp "
         "--dport 80 -j MASQ\n"},
        {"one of three", kV4, [](RuleText& rule) { rule.begin("-A", "SVC").one_of(3).jump("SEP").end(); },
         "-A SVC -m statistic --mode random --probability 0.3333333333 -j SEP\n",
         "-A SVC -m statistic --mode random --probability 0.33333333349 -j SEP\n"},
        {"affinity", kV6,
         [](RuleText& rule) {
             rule.begin("-I", "SVC").comment("plain-words_1").recent_check("SEP", 10800).jump("SEP").end();
         },
         "-I SVC -m comment --comment plain-words_1 -m recent --rcheck --seconds 10800 --reap --name SEP -j SEP\n",
         "-I SVC -m comment --comment plain-words_1 -m recent --rcheck --seconds 10800 --reap --name SEP --mask "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource -j SEP\n"},
        {"endpoint", kV6,
         [](RuleText& rule) {
             rule.begin("-A", "SEP")
                 .protocol(net::Protocol::kSctp)
                 .recent_set("SEP")
                 .protocol_module(net::Protocol::kSctp)
                 .translate(ip("fd00:1:0:0:2::5"), 8080)
                 .end();
         },
         "-A SEP -p sctp -m recent --set --name SEP -m sctp -j DNAT --to-destination [fd00:1::2:0:0:5]:8080\n",
         "-A SEP -p sctp -m recent --set --name SEP --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource -m sctp "
         "-j "
         "DNAT --to-destination [fd00:1::2:0:0:5]:8080\n"},
        {"marks", kV4,
         [](RuleText& rule) {
             rule.begin("-A", "P").mark(0x4000, Sense::kIsNot).jump("RETURN").end();
             rule.begin("-A", "P").mark(0xffffffff).xor_mark(0x4000).end();
             rule.begin("-A", "P").or_mark(0x4000).end();
         },
         "-A P -m mark ! --mark 0x00004000/0x00004000 -j RETURN\n"
         "-A P -m mark --mark 0xffffffff/0xffffffff -j MARK --xor-mark 0x00004000\n"
         "-A P -j MARK --or-mark 0x00004000\n",
         "-A P -m mark ! --mark 0x4000/0x4000 -j RETURN\n"
         "-A P -m mark --mark 0xffffffff -j MARK --set-xmark 0x4000/0x0\n"
         "-A P -j MARK --set-xmark 0x4000/0x4000\n"},
        {"the rest", kV4,
         [](RuleText& rule) {
             rule.begin("-D", "N")
                 .source(prefix("0.0.0.0/0"))
                 .in_interface("cali+", Sense::kIsNot)
                 .source_type_local()
                 .destination_type_local()
                 .connection_state("RELATED,ESTABLISHED", Sense::kIsNot)
                 .accounted("drops")
                 .reject()
                 .end();
             rule.begin("-A", "N").masquerade(true).end();
             rule.begin("-A", "N").masquerade(false).end();
             rule.begin("-A", "N").protocol(net::Protocol::kTcp).masquerade("32768-65535", true).end();
             rule.begin("-A", "N")
                 .in_set("KUBE-CLUSTER-IP", "dst,dst")
                 .in_set("with space", "src", Sense::kIsNot)
                 .jump("RETURN")
                 .end();
         },
         "-D N ! -i cali+ -m addrtype --src-type LOCAL -m addrtype --dst-type LOCAL -m conntrack ! --ctstate "
         "RELATED,ESTABLISHED -m nfacct --nfacct-name drops -j REJECT\n"
         "-A N -j MASQUERADE --random-fully\n"
         "-A N -j MASQUERADE\n"
         "-A N -p tcp -j MASQUERADE --to-ports 32768-65535 --random-fully\n"
         "-A N -m set --match-set KUBE-CLUSTER-IP dst,dst -m set ! --match-set \"with space\" src -j RETURN\n",
         "-D N ! -i cali+ -m addrtype --src-type LOCAL -m addrtype --dst-type LOCAL -m conntrack ! --ctstate "
         "RELATED,ESTABLISHED -m nfacct --nfacct-name  drops -j REJECT --reject-with icmp-port-unreachable\n"
         "-A N -j MASQUERADE --random-fully\n"
         "-A N -j MASQUERADE\n"
         "-A N -p tcp -j MASQUERADE --to-ports 32768-65535 --random-fully\n"
         "-A N -m set --match-set KUBE-CLUSTER-IP dst,dst -m set ! --match-set \"with space\" src -j RETURN\n"},
        {"quotes", kV4, [](RuleText& rule) { rule.begin("-A", "Q").comment("it's \"\\\"\nor not").comment("").end(); },
         "-A Q -m comment --comment \"it\\'s \\\"\\\\\\\" or not\" -m comment --comment \"\"\n",
         "-A Q -m comment --comment \"it\\'s \\\"\\\\\\\" or not\" -m comment --comment \"\"\n"},
    };
    return rows;
}

TEST(RuleText, BothForms) {
    for (const auto& row : rows()) {
        std::string restore;
        RuleText given(restore, Form::kRestore, row.family);
        row.write(given);
        EXPECT_EQ(restore, row.restore) << row.name;
        std::string saved;
        RuleText kept(saved, Form::kSaved, row.family);
        row.write(kept);
        EXPECT_EQ(saved, row.saved) << row.name;
    }
}

TEST(RuleText, CanonicalMakesOneFormOfTheOther) {
    for (const auto& row : rows()) {
        std::string made;
        std::string_view rest = row.restore;
        while (!rest.empty()) {
            const auto end = rest.find('\n');
            made += canonical(rest.substr(0, end), row.family) + "\n";
            rest.remove_prefix(end + 1);
        }
        EXPECT_EQ(made, row.saved) << row.name;
    }
}

// The numbers of kube-proxy's own tests.
TEST(RuleText, SharesHaveTenDecimals) {
    const std::vector<std::pair<std::uint32_t, const char*>> cases{
        {1, "1.0000000000"},      {2, "0.5000000000"},    {3, "0.3333333333"},
        {6, "0.1666666667"},      {10, "0.1000000000"},   {100000, "0.0000100000"},
        {100001, "0.0000099999"}, {2048, "0.0004882812"}, {10240, "0.0000976563"},
    };
    for (const auto& [choices, expected] : cases) {
        std::string text;
        append_share(text, choices);
        EXPECT_EQ(text, expected) << choices;
    }
}

// As printf writes them and the program reads them, and never two alike.
TEST(RuleText, SharesFallStrictly) {
    std::string last = "2";
    std::string share;
    std::string kept;
    std::array<char, 32> printed{};
    for (std::uint32_t choices = 1; choices <= 100000; ++choices) {
        share.clear();
        append_share(share, choices);
        std::snprintf(printed.data(), printed.size(), "%.10f", 1.0 / choices);
        ASSERT_EQ(share, printed.data()) << choices;
        ASSERT_LT(share, last) << choices;
        last = share;

        const double read = std::strtod(share.c_str(), nullptr);
        ASSERT_EQ(read, share_as_read(choices)) << choices;
        kept.clear();
        append_probability(kept, read);
        const double kernel = static_cast<double>(std::lround(0x80000000U * read)) / 0x80000000U;
        std::snprintf(printed.data(), printed.size(), "%.11f", kernel);
        ASSERT_EQ(kept, printed.data()) << choices;
    }
}

TEST(RuleText, AddressesAreThoseOfLibc) {
    for (const auto* text : {"::", "::1", "::1.2.3.4", "::ffff:1.2.3.4", "fd00::", "fd00::1:0:0:1", "1:0:0:2::3",
                             "2001:db8:0:1:1:1:1:1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6::", "0:1::", "0:0:0:1::",
                             "1:0:0:1:0:0:0:1", "fe80::a:b", "0:0:1:0:0:0:0:0", "10.0.0.1", "255.255.255.255"}) {
        std::string written;
        append_address(written, ip(text));
        EXPECT_EQ(written, ip(text).text());
    }
}

}  // namespace
}  // namespace ghostip::kernel::iptables

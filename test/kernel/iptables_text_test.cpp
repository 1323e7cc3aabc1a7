// The two forms of a rule (src/kernel/iptables/rule_text.h) against the real programs: what is given in the one form is
// saved in the other, byte for byte, by both variants and for both families. In network namespaces of its own.
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "kernel/iptables/rule_text.h"
#include "kernel/nfacct/linux.h"
#include "support/namespace.h"

namespace ghostip::kernel::iptables {
namespace {

using testnet::Namespace;

struct Setting {
    const char* save;
    const char* restore;
    net::Family family;
};

const std::vector<Setting>& settings() {
    static const std::vector<Setting> settings{
        {"iptables-nft-save", "iptables-nft-restore", net::Family::kIpv4},
        {"ip6tables-nft-save", "ip6tables-nft-restore", net::Family::kIpv6},
        {"iptables-legacy-save", "iptables-legacy-restore", net::Family::kIpv4},
        {"ip6tables-legacy-save", "ip6tables-legacy-restore", net::Family::kIpv6},
    };
    return settings;
}

net::Prefix prefix(std::string_view text) { return net::Prefix::parse_lenient(text).value(); }
net::IpAddress ip(std::string_view text) { return net::IpAddress::parse(text).value(); }

std::vector<std::string> lines(std::string_view text) {
    std::vector<std::string> result;
    while (!text.empty()) {
        const auto end = text.find('\n');
        result.emplace_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return result;
}

// Each kind of rule that RuleText can write, in all chains T.
std::string every_rule(Form form, net::Family family, std::string_view table) {
    const bool v4 = family == net::Family::kIpv4;
    const auto pods = prefix(v4 ? "10.1.0.0/16" : "fd00:1::/64");
    const auto service = prefix(v4 ? "10.96.0.7/32" : "fd00:30::7/128");
    const auto loopback = prefix(v4 ? "127.0.0.0/8" : "::1/128");
    const auto anywhere = prefix(v4 ? "0.0.0.0/0" : "::/0");
    std::string out;
    RuleText rule(out, form, family);
    if (table == "filter") {
        rule.begin("-A", "T").destination(service).comment("shop/web:http has no endpoints").reject().end();
        rule.begin("-A", "T").source(loopback, Sense::kIsNot).destination(loopback).jump("DROP").end();
        rule.begin("-A", "T").connection_state("INVALID").jump("DROP").end();
        rule.begin("-A", "T").connection_state("NEW").jump("X").end();
        rule.begin("-A", "T").connection_state("RELATED,ESTABLISHED,DNAT", Sense::kIsNot).jump("DROP").end();
        rule.begin("-A", "T").comment("kubernetes forwarding rules").mark(0x4000).jump("ACCEPT").end();
        return out;
    }
    for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp}) {
        rule.begin("-A", "T")
            .source(pods, Sense::kIsNot)
            .destination(service)
            .protocol(protocol)
            .comment("shop/web:http cluster IP")
            .destination_port(protocol, 80)
            .jump("X")
            .end();
        rule.begin("-A", "T").protocol(protocol).destination_port(protocol, 65535).jump("X").end();
        rule.begin("-A", "T").protocol(protocol).comment("e").recent_set("X");
        rule.translate(ip(v4 ? "10.1.0.5" : "fd00:1::5"), 8080).end();
    }
    rule.begin("-A", "T").source(anywhere).destination(service, Sense::kIsNot).jump("X").end();
    rule.begin("-A", "T").in_interface("eth0").jump("X").end();
    rule.begin("-A", "T").in_interface("cali+", Sense::kIsNot).jump("X").end();
    for (const auto* comment : {"plain", "under_score-dash", "two words", "a/b:c", "-> 10.1.0.5:8080", "it's",
                                "\"q\" \\", "", "-j", "!", "\xc3\xbc"})
        rule.begin("-A", "T").comment(comment).end();
    rule.begin("-A", "T").comment(std::string(255, 'c')).end();
    rule.begin("-A", "T").source_type_local().comment("route LOCAL traffic").jump("X").end();
    rule.begin("-A", "T").destination_type_local().jump("X").end();
    rule.begin("-A", "T").mark(0x4000, Sense::kIsNot).jump("RETURN").end();
    for (const std::uint32_t mark : {0x1U, 0x80000000U, 0xffffffffU}) {
        rule.begin("-A", "T").mark(mark).jump("RETURN").end();
        rule.begin("-A", "T").xor_mark(mark).end();
        rule.begin("-A", "T").or_mark(mark).end();
    }
    for (std::uint32_t choices = 1; choices < 5000; choices += 1 + choices / 10)
        rule.begin("-A", "T").one_of(choices).jump("X").end();
    for (const std::uint32_t choices : {100000U, 100001U})
        rule.begin("-A", "T").comment("c").one_of(choices).jump("X").end();
    rule.begin("-A", "T").comment("r").recent_check("X", 10800).jump("X").end();
    rule.begin("-A", "T").recent_check("X", 1).jump("X").end();
    rule.begin("-A", "T").accounted("a_counter").jump("X").end();
    rule.begin("-A", "T").masquerade(true).end();
    rule.begin("-A", "T").masquerade(false).end();
    return out;
}

// The rules of chain T in the table, after it was given these.
std::vector<std::string> given_and_saved(const Setting& setting, std::string_view table, const std::string& rules) {
    const auto space = Namespace::create();
    EXPECT_TRUE(space) << "needs root: " << space.error().message;
    if (!space) return {};
    {
        const auto inside = space->enter();
        const auto counters = nfacct::LinuxNfacct::open();
        EXPECT_TRUE(counters && (*counters)->create("a_counter")) << "needs nfacct in the kernel";
    }
    const auto text = fmt::format("*{}\n:T - [0:0]\n:X - [0:0]\n{}COMMIT\n", table, rules);
    const auto restored = space->must_run({setting.restore, "--noflush"}, text);
    EXPECT_TRUE(restored) << setting.restore << ": " << restored.error().message;
    const auto saved = space->must_run({setting.save, "-t", std::string(table)});
    EXPECT_TRUE(saved) << saved.error().message;
    std::vector<std::string> result;
    for (const auto& line : lines(saved.value_or("")))
        if (line.starts_with("-A T")) result.push_back(line);
    return result;
}

TEST(IptablesText, IsSavedInItsSavedForm) {
    for (const auto& setting : settings()) {
        for (const auto* table : {"nat", "filter"}) {
            const auto given = every_rule(Form::kRestore, setting.family, table);
            const auto expected = lines(every_rule(Form::kSaved, setting.family, table));
            EXPECT_EQ(given_and_saved(setting, table, given), expected) << setting.restore << " " << table;
            std::vector<std::string> canonicals;
            for (const auto& line : lines(given)) canonicals.push_back(canonical(line, setting.family));
            EXPECT_EQ(canonicals, expected) << setting.restore << " " << table;
        }
    }
}

// In the order of arguments of other programs; %p: pods, %s: a service, %e: an endpoint, %l: loopback.
const std::vector<std::string>& foreign_rules(std::string_view table) {
    static const std::vector<std::string> nat{
        R"(-A T -m comment --comment "shop/web:http cluster IP" -m tcp -p tcp -d %s --dport 80 ! -s %p -j X)",
        R"(-A T -m comment --comment "shop/web:http external IP" -m sctp -p sctp -d %s/%b --dport 80 -j X)",
        R"(-A T -m comment --comment shop/web:http -m udp -p udp -d %l --dport 30080 -j X)",
        R"(-A T -m comment --comment "shop/web:http -> 1" -m statistic --mode random --probability 0.3333333333 -j X)",
        R"(-A T -m comment --comment c -m recent --name X --rcheck --seconds 10800 --reap -j X)",
        R"(-A T -m comment --comment c -m recent --name X --set -m tcp -p tcp -j DNAT --to-destination %e)",
        R"(-A T -m comment --comment "pod traffic" ! -i cali+ -j X)",
        R"(-A T -m comment --comment c -m addrtype --dst-type LOCAL ! -d %l -j X)",
        R"(-A T -m mark ! --mark 0x00004000/0x00004000 -j RETURN)",
        R"(-A T -j MARK --xor-mark 0x00004000)",
        R"(-A T -j MARK --or-mark 0x00004000)",
        R"(-A T -j MARK --and-mark 0xff)",
        R"(-A T -j MARK --set-mark 0x1/0xf0)",
        R"(-A T -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully)",
        R"(-A T -p tcp -j MASQUERADE --to-ports 1000-2000 --random)",
        R"(-A T -p 17 --sport 53:53 ! --dport 1:1023 -j X)",
        R"(-A T -p TCP --syn -m recent ! --rcheck --rdest --hitcount 3 --seconds 60 -g X)",
        R"(-A T -m recent --update --seconds 9 --reap --hitcount 2 --rttl --name a.b)",
        R"(-A T ! -o lo -p tcp -d %s --tcp-flags SYN,RST SYN --dport 1 -m state --state RELATED,NEW -j X)",
        R"(-A T -m statistic --packet 1 --every 3 --mode nth -m statistic --mode random ! --probability .25 -j X)",
    };
    static const std::vector<std::string> filter{
        R"(-A T -m conntrack --ctstate DNAT,NEW,INVALID -m comment --comment "kubernetes service portals" -j X)",
        R"(-A T -m comment --comment "block incoming localnet connections" -d %l ! -s %l -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP)",
        R"(-A T -m comment --comment "shop/web:http has no endpoints" -m tcp -p tcp -d %s --dport 80 -j REJECT)",
        R"(-A T -m comment --comment "other traffic to shop/web:http will be dropped by KUBE-PROXY-FIREWALL")",
        R"(-A T -p tcp -j REJECT --reject-with tcp-reset)",
    };
    return table == "nat" ? nat : filter;
}

std::string filled_in(std::string rule, net::Family family) {
    const bool v4 = family == net::Family::kIpv4;
    const std::vector<std::pair<std::string_view, std::string_view>> places{
        {"%p", v4 ? "10.1.2.3/255.255.0.0" : "FD00:1:0:0:2::/64"},
        {"%s", v4 ? "10.96.0.7" : "fd00:30:0::7"},
        {"%e", v4 ? "10.1.0.5:80" : "[fd00:1::5]:80"},
        {"%l", v4 ? "127.0.0.0/8" : "::1"},
        {"%b", v4 ? "32" : "128"},
    };
    for (const auto& [place, text] : places)
        for (auto at = rule.find(place); at != std::string::npos; at = rule.find(place)) rule.replace(at, 2, text);
    return rule;
}

TEST(IptablesText, CanonicalIsWhatIsSaved) {
    for (const auto& setting : settings()) {
        for (const auto* table : {"nat", "filter"}) {
            std::string given;
            std::vector<std::string> expected;
            for (const auto& rule : foreign_rules(table)) {
                given += filled_in(rule, setting.family) + "\n";
                expected.push_back(canonical(filled_in(rule, setting.family), setting.family));
            }
            EXPECT_EQ(given_and_saved(setting, table, given), expected) << setting.restore << " " << table;
        }
    }
}

}  // namespace
}  // namespace ghostip::kernel::iptables

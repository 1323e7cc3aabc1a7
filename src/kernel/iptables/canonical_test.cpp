#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernel/iptables/rule_text.h"

namespace ghostip::kernel::iptables {
namespace {

struct Row {
    const char* given;
    const char* saved;
    net::Family family = net::Family::kIpv4;
};

// The right sides are what iptables-save 1.8.9 printed when it was given the left ones.
const std::vector<Row>& rows() {
    static const std::vector<Row> rows{
        // kube-proxy's order of arguments
        {R"(-A S -m comment --comment "shop/web:http cluster IP" -m tcp -p tcp -d 10.96.0.7 --dport 80 ! -s 10.1.0.0/16 -j M)",
         R"(-A S ! -s 10.1.0.0/16 -d 10.96.0.7/32 -p tcp -m comment --comment "shop/web:http cluster IP" -m tcp --dport 80 -j M)"},
        {R"(-A S -m comment --comment shop/web:http -m sctp -p sctp -d 10.96.0.7/32 --dport 80 -j M)",
         R"(-A S -d 10.96.0.7/32 -p sctp -m comment --comment "shop/web:http" -m sctp --dport 80 -j M)"},
        {R"(-A S -m comment --comment w -m recent --name X --set -m tcp -p tcp -j DNAT --to-destination 10.1.0.5:8080)",
         R"(-A S -p tcp -m comment --comment w -m recent --set --name X --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.1.0.5:8080)"},
        {R"(-A S -m recent --name X --rcheck --seconds 10800 --reap -j X)",
         R"(-A S -m recent --rcheck --seconds 10800 --reap --name X --mask 255.255.255.255 --rsource -j X)"},
        {R"(-A S -m statistic --mode random --probability 0.0000100000 -j M)",
         R"(-A S -m statistic --mode random --probability 0.00001000008 -j M)"},
        {R"(-A S -m mark ! --mark 0x00004000/0x00004000 -j RETURN)",
         R"(-A S -m mark ! --mark 0x4000/0x4000 -j RETURN)"},
        {R"(-A S -j MARK --xor-mark 0x00004000)", R"(-A S -j MARK --set-xmark 0x4000/0x0)"},
        {R"(-A S -j MARK --or-mark 0x00004000)", R"(-A S -j MARK --set-xmark 0x4000/0x4000)"},
        {R"(-A S -j MARK --set-mark 0x1)", R"(-A S -j MARK --set-xmark 0x1/0xffffffff)"},
        {R"(-A S -j MARK --and-mark 0x1)", R"(-A S -j MARK --set-xmark 0x0/0xfffffffe)"},
        {R"(-A S -m addrtype --src-type LOCAL ! -d 127.0.0.0/8 -j N)",
         R"(-A S ! -d 127.0.0.0/8 -m addrtype --src-type LOCAL -j N)"},
        {R"(-A S -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP)",
         R"(-A S ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP)"},
        {R"(-A S -j REJECT)", R"(-A S -j REJECT --reject-with icmp-port-unreachable)"},
        {R"(-A S -m comment --comment s -d fd00:30::7 -p tcp -m tcp --dport 80 -j REJECT)",
         R"(-A S -d fd00:30::7/128 -p tcp -m comment --comment s -m tcp --dport 80 -j REJECT --reject-with icmp6-port-unreachable)",
         net::Family::kIpv6},
        {R"(-A S -m recent --set --name X)",
         R"(-A S -m recent --set --name X --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource)",
         net::Family::kIpv6},
        // other forms of the same
        {R"(-A T -p tcp --dport 80:90 ! --sport 10 --tcp-flags SYN,ACK SYN -j X)",
         R"(-A T -p tcp -m tcp ! --sport 10 --dport 80:90 --tcp-flags SYN,ACK SYN -j X)"},
        {R"(-A T -p tcp --syn -j REJECT --reject-with tcp-reset)",
         R"(-A T -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j REJECT --reject-with tcp-reset)"},
        {R"(-A T -p 6 --dport 80: -j X)", R"(-A T -p tcp -m tcp --dport 80:65535 -j X)"},
        {R"(-A T -p tcp --destination-port 80:80)", R"(-A T -p tcp -m tcp --dport 80)"},
        {R"(--append T --source 10.1.2.3/255.255.0.0 --jump X)", R"(-A T -s 10.1.0.0/16 -j X)"},
        {R"(-A T -p ALL -i + -s 0/0 -s)", R"(-A T -p ALL -i + -s 0/0 -s)"},
        {R"(-A T -p ALL -i + -s 0.0.0.0/0)", R"(-A T)"},
        {R"(-A T -i + -g X)", R"(-A T -g X)"},
        {R"(-A T ! -p tcp -o eth0 -f -j RETURN)", R"(-A T -o eth0 ! -p tcp -f -j RETURN)"},
        {R"(-A T -s ! 10.0.0.0/8 -c 1 2 -j X)", R"(-A T ! -s 10.0.0.0/8 -j X)"},
        {R"(-A T -m recent ! --update --seconds 3 --reap --mask 255.255.0.0)",
         R"(-A T -m recent ! --update --seconds 3 --reap --name DEFAULT --mask 255.255.0.0 --rsource)"},
        {R"(-A T -m recent --name X --rcheck --rttl --hitcount 3 --seconds 10 --rdest)",
         R"(-A T -m recent --rcheck --seconds 10 --hitcount 3 --rttl --name X --mask 255.255.255.255 --rdest)"},
        {R"(-A T -m statistic --mode nth --every 3 --packet 1 -j X)",
         R"(-A T -m statistic --mode nth --every 3 --packet 1 -j X)"},
        {R"(-A T -m statistic --mode random ! --probability .5 -j X)",
         R"(-A T -m statistic --mode random ! --probability 0.50000000000 -j X)"},
        {R"(-A T -m state --state RELATED,NEW)", R"(-A T -m state --state NEW,RELATED)"},
        {R"(-A T -m comment --comment a'b)", R"(-A T -m comment --comment "a\'b")"},
        {R"(-A T -m mark --mark 010/0xf)", R"(-A T -m mark --mark 0x8/0xf)"},
        {R"(-A T -m mark --mark 0x4000/0xffffffff)", R"(-A T -m mark --mark 0x4000)"},
        {R"(-A T -m addrtype --dst-type LOCAL --src-type LOCAL,UNICAST)",
         R"(-A T -m addrtype --src-type UNICAST,LOCAL --dst-type LOCAL)"},
        // a counter of a version that has mended its two spaces
        {R"(-A T -m nfacct --nfacct-name drops -j X)", R"(-A T -m nfacct --nfacct-name  drops -j X)"},
        // what is not known stays
        {R"(-A T -j LOG -p udp --log-prefix "a \"b" --dport 5)",
         R"(-A T -p udp -m udp --dport 5 -j LOG --log-prefix "a \"b")"},
        {R"(-A T -m set ! --match-set NODES dst,dst -s 10.0.0.1)",
         R"(-A T -s 10.0.0.1/32 -m set ! --match-set NODES dst,dst)"},
        {R"(-A T -p icmp -m icmp --icmp-type 8)", R"(-A T -p icmp -m icmp --icmp-type 8)"},
        {R"(-A T -s a.name/24 -d fd00::1 --dport http)", R"(-A T -s a.name/24 -d fd00::1 --dport http)"},
        {R"(-I T 3 -j X)", R"(-I T 3 -j X)"},
        {R"(-D T 3)", R"(-D T 3)"},
        // no rules
        {R"(-A T -m comment --comment "open)", R"(-A T -m comment --comment "open)"},
        {R"(-A   T -m comment --comment)", R"(-A   T -m comment --comment)"},
        {R"(-A)", R"(-A)"},
        {"", ""},
    };
    return rows;
}

TEST(Canonical, IsWhatIptablesSavePrints) {
    for (const auto& row : rows()) EXPECT_EQ(canonical(row.given, row.family), row.saved) << row.given;
}

TEST(Canonical, LeavesWhatItMade) {
    for (const auto& row : rows()) EXPECT_EQ(canonical(row.saved, row.family), row.saved);
}

}  // namespace
}  // namespace ghostip::kernel::iptables

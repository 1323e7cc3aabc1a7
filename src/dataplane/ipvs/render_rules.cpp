#include "dataplane/ipvs/render_rules.h"

#include <array>
#include <utility>

#include "dataplane/ipvs/names.h"
#include "kernel/iptables/rule_text.h"

namespace ghostip::dataplane::ipvs {
namespace {

using kernel::iptables::Form;
using kernel::iptables::RuleText;
using kernel::iptables::Sense;
using net::Protocol;

constexpr std::array<Protocol, 3> kProtocols{Protocol::kTcp, Protocol::kUdp, Protocol::kSctp};
constexpr std::string_view kDestination = "dst,dst";
constexpr std::string_view kFromTo = "dst,dst,src";

// Not those where Kubernetes has node ports by default (30000-32767): an answer to a port that IPVS listens on would be
// taken for a packet to a node port (kubernetes/kubernetes#139276). The API server's range is told to nobody, so that
// one that reaches beyond is not cured.
constexpr std::string_view kMasqueradePorts = "32768-65535";

class Rules {
  public:
    Rules(const RuleContext& context, std::string_view table, std::string_view name)
        : context_(context), chain_{table, name, {}} {}

    RuleText next() {
        RuleText text(chain_.rules, Form::kSaved, context_.family);
        text.begin("-A", chain_.name);
        return text;
    }
    // With the set's own comment.
    void ask(Set set, std::string_view directions, std::string_view target) {
        in(next().comment(row(set).comment), set, directions).jump(target).end();
    }
    RuleText& in(RuleText& text, Set set, std::string_view directions, Sense sense = Sense::kIs) const {
        return text.in_set(set_name(set, context_.family), directions, sense);
    }
    [[nodiscard]] Chain take() { return std::move(chain_); }

  private:
    const RuleContext& context_;
    Chain chain_;
};

// The detector's matches, which come first in a rule.
RuleText from_pods(RuleText text, const plan::LocalDetector& detector, Sense sense) {
    using Kind = plan::LocalDetector::Kind;
    switch (detector.kind) {
        case Kind::kCidr: text.source(detector.cidr, sense); break;
        case Kind::kInterface: text.in_interface(detector.interface, sense); break;
        case Kind::kInterfacePrefix: text.in_interface(detector.interface + "+", sense); break;
        case Kind::kNone: break;
    }
    return text;
}

void mark_cluster_ips(Rules& rules, const RuleContext& context) {
    const auto& comment = row(Set::kClusterIp).comment;
    const auto& node = context.node;
    if (node.masquerade_all || !node.detector.available()) {
        // Who sends from this node to a cluster IP and says no source, sends from the cluster IP itself: the kernel
        // takes it for one of the node's.
        const auto directions = node.masquerade_all ? kDestination : std::string_view("src,dst");
        rules.ask(Set::kClusterIp, directions, chains::kMarkMasq);
        return;
    }
    auto rule = from_pods(rules.next(), node.detector, Sense::kIsNot);
    rules.in(rule.comment(comment), Set::kClusterIp, kDestination).jump(chains::kMarkMasq).end();
}

Chain services(const RuleContext& context) {
    Rules rules(context, tables::kNat, chains::kServices);
    const bool v4 = context.family == net::Family::kIpv4;
    rules.next().source(*net::Prefix::parse_lenient(v4 ? "127.0.0.0/8" : "::1/128")).jump("RETURN").end();
    // First: what is led on by there has another destination from then on.
    rules.ask(Set::kLoadBalancerLocal, kDestination, chains::kExternalLocal);
    rules.ask(Set::kExternalIpLocal, kDestination, chains::kExternalLocal);
    for (const auto protocol : kProtocols) {
        const auto set = protocol == Protocol::kTcp   ? Set::kNodePortLocalTcp
                         : protocol == Protocol::kUdp ? Set::kNodePortLocalUdp
                                                      : Set::kNodePortLocalSctp;
        auto rule = rules.next().protocol(protocol).comment(row(set).comment).destination_type_local();
        rules
            .in(rules.in(rule, Set::kNodePorts, kDestination), set,
                protocol == Protocol::kSctp ? kDestination : std::string_view("dst"))
            .jump(chains::kExternalLocal)
            .end();
    }
    rules.ask(Set::kLoadBalancer, kDestination, chains::kLoadBalancer);
    mark_cluster_ips(rules, context);
    rules.ask(Set::kExternalIp, kDestination, chains::kMarkMasq);
    // Addresses of the device are local too, and their ports are no node ports.
    for (const auto set : {Set::kExternalIp, Set::kExternalIpLocal, Set::kClusterIp, Set::kLoadBalancer})
        rules.ask(set, kDestination, "ACCEPT");
    // kube-proxy's sets of node ports know no addresses; others of this node are nobody's business here.
    auto node_ports = rules.next().destination_type_local();
    rules.in(node_ports, Set::kNodePorts, kDestination).jump(chains::kNodePort).end();
    return rules.take();
}

// External policy Local: pods and this node are served as if they had dialled the cluster IP.
Chain external_local(const RuleContext& context) {
    Rules rules(context, tables::kNat, chains::kExternalLocal);
    auto refused = rules.next();
    rules
        .in(rules.in(refused.comment("source not allowed: dropped later"), Set::kLoadBalancerFw, kDestination),
            Set::kLoadBalancerSourceCidr, kFromTo, Sense::kIsNot)
        .jump("RETURN")
        .end();
    if (context.node.detector.available())
        from_pods(rules.next(), context.node.detector, Sense::kIs)
            .comment("pods reach all endpoints")
            .jump(chains::kShortCircuit)
            .end();
    rules.next().comment("this node reaches all endpoints").source_type_local().jump(chains::kMarkMasq).end();
    rules.next().comment("this node reaches all endpoints").source_type_local().jump(chains::kShortCircuit).end();
    return rules.take();
}

Chain load_balancer(const RuleContext& context) {
    Rules rules(context, tables::kNat, chains::kLoadBalancer);
    rules.ask(Set::kLoadBalancerLocal, kDestination, "RETURN");
    rules.next().jump(chains::kMarkMasq).end();
    return rules.take();
}

Chain node_port(const RuleContext& context) {
    Rules rules(context, tables::kNat, chains::kNodePort);
    struct Row {
        Protocol protocol;
        Set local;
        Set all;
        std::string_view directions;
    };
    for (const auto& [protocol, local, all, directions] :
         {Row{Protocol::kTcp, Set::kNodePortLocalTcp, Set::kNodePortTcp, "dst"},
          Row{Protocol::kUdp, Set::kNodePortLocalUdp, Set::kNodePortUdp, "dst"},
          Row{Protocol::kSctp, Set::kNodePortLocalSctp, Set::kNodePortSctp, kDestination}})
        for (const auto& [set, target] : {std::pair{local, "RETURN"}, std::pair{all, chains::kMarkMasq}}) {
            auto rule = rules.next().protocol(protocol);
            rules.in(rule.comment(row(set).comment), set, directions).jump(target).end();
        }
    return rules.take();
}

Chain postrouting(const RuleContext& context) {
    Rules rules(context, tables::kNat, chains::kPostrouting);
    const auto mark = context.node.masquerade_mark;
    rules.ask(Set::kLoopBack, kFromTo, "MASQUERADE");
    rules.next().mark(mark, Sense::kIsNot).jump("RETURN").end();
    rules.next().xor_mark(mark).end();
    constexpr std::string_view kComment = "kubernetes service traffic requiring SNAT";
    for (const auto protocol : kProtocols)
        rules.next().protocol(protocol).comment(kComment).masquerade(kMasqueradePorts, context.random_fully).end();
    rules.next().comment(kComment).masquerade(context.random_fully).end();
    return rules.take();
}

Chain mark_masq(const RuleContext& context) {
    Rules rules(context, tables::kNat, chains::kMarkMasq);
    rules.next().or_mark(context.node.masquerade_mark).end();
    return rules.take();
}

Chain forward(const RuleContext& context) {
    Rules rules(context, tables::kFilter, chains::kForward);
    rules.next().comment("kubernetes forwarding rules").mark(context.node.masquerade_mark).jump("ACCEPT").end();
    rules.next()
        .comment("kubernetes forwarding conntrack rule")
        .connection_state("RELATED,ESTABLISHED")
        .jump("ACCEPT")
        .end();
    return rules.take();
}

Chain health_checks(const RuleContext& context) {
    Rules rules(context, tables::kFilter, chains::kNodePort);
    rules.ask(Set::kHealthCheck, "dst", "ACCEPT");
    return rules.take();
}

Chain dropping(const RuleContext& context, std::string_view table, std::string_view name, Set dropped,
               std::string_view ranges) {
    Rules rules(context, table, name);
    // An endpoint that leaves is still to finish what it serves.
    auto rule = rules.next();
    rules.in(rule.comment(row(dropped).comment).connection_state("NEW"), dropped, kDestination).jump("DROP").end();
    rules.ask(Set::kLoadBalancerFw, kDestination, ranges);
    return rules.take();
}

Chain source_ranges(const RuleContext& context, std::string_view table, std::string_view name) {
    Rules rules(context, table, name);
    for (const auto set : {Set::kLoadBalancerSourceCidr, Set::kLoadBalancerSourceIp}) rules.ask(set, kFromTo, "RETURN");
    rules.next().jump("DROP").end();
    return rules.take();
}

// What of this host listens on all addresses would be reached by those of Services too.
Chain access_filter(const RuleContext& context) {
    Rules rules(context, tables::kFilter, chains::kFilter);
    for (const auto set : {Set::kLoadBalancer, Set::kClusterIp, Set::kExternalIp, Set::kExternalIpLocal})
        rules.ask(set, kDestination, "RETURN");
    rules.ask(Set::kHealthCheck, "dst", "RETURN");
    auto rule = rules.next().connection_state("NEW");
    rules.in(rule, Set::kIpvsIps, "dst").reject().end();
    return rules.take();
}

}  // namespace

std::vector<Chain> render_chains(const RuleContext& context, std::string short_circuits) {
    std::vector<Chain> made;
    made.push_back(mark_masq(context));
    made.push_back({tables::kNat, chains::kShortCircuit, std::move(short_circuits)});
    made.push_back(external_local(context));
    made.push_back(load_balancer(context));
    made.push_back(node_port(context));
    made.push_back(services(context));
    made.push_back(postrouting(context));
    made.push_back(source_ranges(context, tables::kFilter, chains::kSourceRanges));
    made.push_back(dropping(context, tables::kFilter, chains::kProxyFirewall, Set::kDrop, chains::kSourceRanges));
    made.push_back(health_checks(context));
    made.push_back(access_filter(context));
    made.push_back({tables::kFilter, chains::kOutFilter, {}});
    made.push_back(forward(context));
    // IPVS takes what this node sends before the table filter sees it, so that it is looked at before.
    made.push_back(source_ranges(context, tables::kMangle, chains::kOwnRanges));
    made.push_back(dropping(context, tables::kMangle, chains::kOwnTraffic, Set::kDropOwn, chains::kOwnRanges));
    made.push_back({tables::kMangle, chains::kOwn, {}});
    return made;
}

std::vector<Jump> render_jumps(net::Family family) {
    struct Row {
        std::string_view table;
        std::string_view from;
        std::string_view to;
        std::string_view comment;
    };
    constexpr std::array<Row, 9> kRows{{
        {tables::kNat, "OUTPUT", chains::kServices, "kubernetes service portals"},
        {tables::kNat, "PREROUTING", chains::kServices, "kubernetes service portals"},
        {tables::kNat, "POSTROUTING", chains::kPostrouting, "kubernetes postrouting rules"},
        {tables::kFilter, "FORWARD", chains::kForward, "kubernetes forwarding rules"},
        {tables::kFilter, "INPUT", chains::kNodePort, "kubernetes health check rules"},
        {tables::kFilter, "INPUT", chains::kProxyFirewall, "kube-proxy firewall rules"},
        {tables::kFilter, "FORWARD", chains::kProxyFirewall, "kube-proxy firewall rules"},
        {tables::kFilter, "INPUT", chains::kFilter, "kubernetes ipvs access filter"},
        {tables::kMangle, "OUTPUT", chains::kOwnTraffic, "source ranges for what this node sends"},
    }};
    std::vector<Jump> jumps;
    for (const auto& row : kRows) {
        Jump jump{row.table, row.from, {}};
        RuleText(jump.rule, Form::kSaved, family).comment(row.comment).jump(row.to);
        jumps.push_back(std::move(jump));
    }
    return jumps;
}

}  // namespace ghostip::dataplane::ipvs

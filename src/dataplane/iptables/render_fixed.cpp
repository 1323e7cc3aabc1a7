#include "dataplane/iptables/render_fixed.h"

#include <algorithm>

namespace ghostip::dataplane::iptables {
namespace {

using kernel::iptables::RuleText;
using kernel::iptables::Sense;

RuleText text_in(std::string& out, const Context& context) { return {out, context.form, context.family}; }

RuleText append(Chain& chain, const Context& context) {
    RuleText text = text_in(chain.rules, context);
    text.begin("-A", chain.name);
    return text;
}

struct JumpRow {
    std::string_view table;
    std::string_view from;
    std::string_view to;
    bool new_only;  // the first packet of a connection decides for all
    std::string_view comment;
};
constexpr std::array<JumpRow, 14> kJumps{{
    {tables::kFilter, "INPUT", chains::kExternalServices, true, "kubernetes externally-visible service portals"},
    {tables::kFilter, "FORWARD", chains::kExternalServices, true, "kubernetes externally-visible service portals"},
    {tables::kFilter, "INPUT", chains::kNodePorts, false, "kubernetes health check service ports"},
    {tables::kFilter, "FORWARD", chains::kServices, true, "kubernetes service portals"},
    {tables::kFilter, "OUTPUT", chains::kServices, true, "kubernetes service portals"},
    {tables::kFilter, "FORWARD", chains::kForward, false, "kubernetes forwarding rules"},
    {tables::kFilter, "INPUT", chains::kProxyFirewall, true, "kubernetes load balancer firewall"},
    {tables::kFilter, "OUTPUT", chains::kProxyFirewall, true, "kubernetes load balancer firewall"},
    {tables::kFilter, "FORWARD", chains::kProxyFirewall, true, "kubernetes load balancer firewall"},
    {tables::kNat, "OUTPUT", chains::kServices, false, "kubernetes service portals"},
    {tables::kNat, "PREROUTING", chains::kServices, false, "kubernetes service portals"},
    {tables::kNat, "POSTROUTING", chains::kPostrouting, false, "kubernetes postrouting rules"},
    {tables::kFilter, "INPUT", chains::kFirewall, false, ""},
    {tables::kFilter, "OUTPUT", chains::kFirewall, false, ""},
}};

net::Prefix loopback(net::Family family) {
    return *net::Prefix::parse_lenient(family == net::Family::kIpv4 ? "127.0.0.0/8" : "::1/128");
}

Chain postrouting(const Context& context) {
    const auto mark = context.node.masquerade_mark;
    Chain chain{tables::kNat, chains::kPostrouting, {}};
    append(chain, context).mark(mark, Sense::kIsNot).jump("RETURN").end();
    // Without the mark, so that it is not masqueraded again where a packet passes twice (a tunnel of this node).
    append(chain, context).xor_mark(mark).end();
    append(chain, context)
        .comment("kubernetes service traffic requiring SNAT")
        .masquerade(context.abilities.random_fully)
        .end();
    return chain;
}

Chain forward(const Context& context) {
    Chain chain{tables::kFilter, chains::kForward, {}};
    if (context.abilities.tcp_is_strict) {
        // Packets that conntrack does not take for part of a connection would leave untranslated, and the client
        // answers such strangers with a reset of its connection.
        auto rule = append(chain, context);
        rule.connection_state("INVALID");
        if (context.abilities.counters) rule.accounted(kInvalidDropped);
        rule.jump("DROP").end();
    }
    append(chain, context)
        .comment("kubernetes forwarding rules")
        .mark(context.node.masquerade_mark)
        .jump("ACCEPT")
        .end();
    append(chain, context)
        .comment("kubernetes forwarding conntrack rule")
        .connection_state("RELATED,ESTABLISHED")
        .jump("ACCEPT")
        .end();
    return chain;
}

// With route_localnet, neighbours could otherwise reach what listens on loopback only (CVE-2020-8558).
Chain firewall(const Context& context) {
    Chain chain{tables::kFilter, chains::kFirewall, {}};
    append(chain, context)
        .source(loopback(context.family), Sense::kIsNot)
        .destination(loopback(context.family))
        .comment("block incoming localnet connections")
        .connection_state("RELATED,ESTABLISHED,DNAT", Sense::kIsNot)
        .jump("DROP")
        .end();
    return chain;
}

}  // namespace

std::vector<Chain> render_fixed_chains(const Context& context) {
    Chain mark{tables::kNat, chains::kMarkMasq, {}};
    append(mark, context).or_mark(context.node.masquerade_mark).end();
    std::vector<Chain> chains{std::move(mark), postrouting(context), forward(context)};
    if (context.node.node_ports.loopback && context.family == net::Family::kIpv4) chains.push_back(firewall(context));
    return chains;
}

std::vector<std::string> render_tail(const Context& context) {
    constexpr std::string_view kComment =
        "kubernetes service nodeports; NOTE: this must be the last rule in this chain";
    const auto& accepts = context.node.node_ports;
    std::vector<std::string> tail;
    if (!accepts.all) {
        for (const auto& address : accepts.addresses)
            text_in(tail.emplace_back(), context)
                .destination(net::Prefix::host(address))
                .comment(kComment)
                .jump(chains::kNodePorts);
        return tail;
    }
    auto rule = text_in(tail.emplace_back(), context);
    if (!accepts.loopback) rule.destination(loopback(context.family), Sense::kIsNot);
    rule.comment(kComment).destination_type_local().jump(chains::kNodePorts);
    return tail;
}

bool has_jump(std::string_view table, std::string_view chain) {
    return std::any_of(kJumps.begin(), kJumps.end(),
                       [&](const auto& row) { return row.table == table && row.from == chain; });
}

std::vector<Jump> render_jumps(const Context& context) {
    std::vector<Jump> jumps;
    for (const auto& row : kJumps) {
        Jump jump{row.table, row.from, {}};
        auto rule = text_in(jump.rule, context);
        if (row.new_only) rule.connection_state("NEW");
        if (!row.comment.empty()) rule.comment(row.comment);
        rule.jump(row.to);
        jumps.push_back(std::move(jump));
    }
    return jumps;
}

}  // namespace ghostip::dataplane::iptables

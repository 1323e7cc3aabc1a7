#include "kernel/iptables/rule_text.h"

#include "kernel/iptables/text.h"

namespace ghostip::kernel::iptables {
namespace {

// With all its digits, as kube-proxy writes it: a reader sees at once that it is a mark.
void append_mark(std::string& out, Form form, std::uint32_t value) {
    if (form == Form::kSaved) return append_hexadecimal(out, value);
    constexpr std::string_view kDigits = "0123456789abcdef";
    out += "0x";
    for (int shift = 28; shift >= 0; shift -= 4) out += kDigits[value >> static_cast<unsigned>(shift) & 0xfU];
}

}  // namespace

RuleText& RuleText::begin(std::string_view operation, std::string_view chain) {
    out_ += operation;
    out_ += ' ';
    append_word(out_, chain);
    return *this;
}

RuleText& RuleText::option(std::string_view name, Sense sense) {
    if (sense == Sense::kIsNot) out_ += " !";
    out_ += name;
    return *this;
}

// All addresses are not written: iptables-save leaves them out.
RuleText& RuleText::address(std::string_view name, const net::Prefix& prefix, Sense sense) {
    if (prefix.length == 0 && sense == Sense::kIs) return *this;
    option(name, sense);
    if (form_ == Form::kRestore && prefix.length == net::address_bits(prefix.family())) {
        append_address(out_, prefix.address);
    } else {
        append_prefix(out_, prefix);
    }
    return *this;
}

RuleText& RuleText::source(const net::Prefix& prefix, Sense sense) { return address(" -s ", prefix, sense); }

RuleText& RuleText::destination(const net::Prefix& prefix, Sense sense) { return address(" -d ", prefix, sense); }

RuleText& RuleText::in_interface(std::string_view name, Sense sense) {
    option(" -i ", sense);
    append_word(out_, name);
    return *this;
}

RuleText& RuleText::protocol(net::Protocol protocol) {
    out_ += " -p ";
    out_ += net::protocol_lower_name(protocol);
    return *this;
}

RuleText& RuleText::comment(std::string_view text) {
    out_ += " -m comment --comment ";
    append_quoted(out_, text);
    return *this;
}

RuleText& RuleText::destination_port(net::Protocol protocol, std::uint16_t port) {
    out_ += " -m ";
    out_ += net::protocol_lower_name(protocol);
    out_ += " --dport ";
    append_decimal(out_, port);
    return *this;
}

RuleText& RuleText::protocol_module(net::Protocol protocol) {
    out_ += " -m ";
    out_ += net::protocol_lower_name(protocol);
    return *this;
}

RuleText& RuleText::source_type_local() {
    out_ += " -m addrtype --src-type LOCAL";
    return *this;
}

RuleText& RuleText::destination_type_local() {
    out_ += " -m addrtype --dst-type LOCAL";
    return *this;
}

RuleText& RuleText::mark(std::uint32_t value, Sense sense) {
    out_ += " -m mark";
    option(" --mark ", sense);
    append_mark(out_, form_, value);
    if (form_ == Form::kSaved && value == 0xffffffff) return *this;
    out_ += '/';
    append_mark(out_, form_, value);
    return *this;
}

RuleText& RuleText::connection_state(std::string_view states, Sense sense) {
    out_ += " -m conntrack";
    option(" --ctstate ", sense);
    out_ += states;
    return *this;
}

RuleText& RuleText::one_of(std::uint32_t choices) {
    out_ += " -m statistic --mode random --probability ";
    if (form_ == Form::kRestore) {
        append_share(out_, choices);
    } else {
        append_probability(out_, share_as_read(choices));
    }
    return *this;
}

RuleText& RuleText::recent(std::string_view list) {
    out_ += " --name ";
    append_word(out_, list);
    if (form_ == Form::kSaved)
        out_ += family_ == net::Family::kIpv4 ? " --mask 255.255.255.255 --rsource"
                                              : " --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource";
    return *this;
}

RuleText& RuleText::recent_check(std::string_view list, std::uint32_t seconds) {
    out_ += " -m recent --rcheck --seconds ";
    append_decimal(out_, seconds);
    out_ += " --reap";
    return recent(list);
}

RuleText& RuleText::recent_set(std::string_view list) {
    out_ += " -m recent --set";
    return recent(list);
}

RuleText& RuleText::accounted(std::string_view counter) {
    // Its module writes a space of its own.
    out_ += form_ == Form::kSaved ? " -m nfacct --nfacct-name  " : " -m nfacct --nfacct-name ";
    append_word(out_, counter);
    return *this;
}

RuleText& RuleText::jump(std::string_view target) {
    out_ += " -j ";
    append_word(out_, target);
    return *this;
}

RuleText& RuleText::change_mark(std::string_view option, std::uint32_t bits, std::uint32_t mask) {
    out_ += " -j MARK ";
    if (form_ == Form::kRestore) {
        out_ += option;
        append_mark(out_, form_, bits);
        return *this;
    }
    out_ += "--set-xmark ";
    append_mark(out_, form_, bits);
    out_ += '/';
    append_mark(out_, form_, mask);
    return *this;
}

RuleText& RuleText::or_mark(std::uint32_t bits) { return change_mark("--or-mark ", bits, bits); }

RuleText& RuleText::xor_mark(std::uint32_t bits) { return change_mark("--xor-mark ", bits, 0); }

RuleText& RuleText::translate(const net::IpAddress& to, std::uint16_t port) {
    out_ += " -j DNAT --to-destination ";
    append_host_port(out_, to, port);
    return *this;
}

RuleText& RuleText::reject() {
    out_ += " -j REJECT";
    if (form_ == Form::kSaved)
        out_ += family_ == net::Family::kIpv4 ? " --reject-with icmp-port-unreachable"
                                              : " --reject-with icmp6-port-unreachable";
    return *this;
}

RuleText& RuleText::masquerade(bool random_fully) {
    out_ += random_fully ? " -j MASQUERADE --random-fully" : " -j MASQUERADE";
    return *this;
}

void RuleText::end() { out_ += '\n'; }

}  // namespace ghostip::kernel::iptables

// Writes one rule of iptables as text, in two forms that mean the same: as iptables-restore is to be given it, and as
// iptables-save (1.8.9) prints it back, so that what the kernel holds is compared by comparing bytes.
//
// The calls of one rule must come in the order of iptables-save: begin, source, destination, in_interface, protocol,
// matches in any order, target, end. Appends to the caller's string; no allocation of its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "net/address.h"
#include "net/prefix.h"
#include "net/protocol.h"

namespace ghostip::kernel::iptables {

enum class Form : std::uint8_t { kRestore, kSaved };
enum class Sense : std::uint8_t { kIs, kIsNot };

class RuleText {
  public:
    RuleText(std::string& out, Form form, net::Family family) : out_(out), form_(form), family_(family) {}

    // "-A CHAIN"; `operation`: "-A", "-I", "-D".
    RuleText& begin(std::string_view operation, std::string_view chain);
    RuleText& source(const net::Prefix& prefix, Sense sense = Sense::kIs);
    RuleText& destination(const net::Prefix& prefix, Sense sense = Sense::kIs);
    // A name that ends in `+` is a prefix.
    RuleText& in_interface(std::string_view name, Sense sense = Sense::kIs);
    RuleText& protocol(net::Protocol protocol);

    RuleText& comment(std::string_view text);                                // at most 255 bytes
    RuleText& destination_port(net::Protocol protocol, std::uint16_t port);  // with its -m tcp
    RuleText& protocol_module(net::Protocol protocol);                       // -m tcp alone, which matches no more
    RuleText& source_type_local();                                           // addrtype
    RuleText& destination_type_local();
    RuleText& mark(std::uint32_t value, Sense sense = Sense::kIs);                  // value/value
    RuleText& connection_state(std::string_view states, Sense sense = Sense::kIs);  // "NEW", "RELATED,ESTABLISHED"
    // One of `choices` packets: 1/choices, with ten decimals to restore, as the kernel rounds it when saved.
    RuleText& one_of(std::uint32_t choices);
    RuleText& recent_check(std::string_view list, std::uint32_t seconds);  // --rcheck --seconds --reap
    RuleText& recent_set(std::string_view list);
    RuleText& accounted(std::string_view counter);  // nfacct
    // In an IP set; `directions` as the extension takes them: "dst,dst,src".
    RuleText& in_set(std::string_view set, std::string_view directions, Sense sense = Sense::kIs);

    RuleText& jump(std::string_view target);
    RuleText& or_mark(std::uint32_t bits);
    RuleText& xor_mark(std::uint32_t bits);
    RuleText& translate(const net::IpAddress& to, std::uint16_t port);  // DNAT
    RuleText& reject();                                                 // ICMP port unreachable
    RuleText& masquerade(bool random_fully);
    // With source ports of this range ("1024-65535"), for which the rule must be one of a protocol that has ports.
    RuleText& masquerade(std::string_view ports, bool random_fully);
    void end();  // of the line

  private:
    RuleText& option(std::string_view name, Sense sense);
    RuleText& address(std::string_view name, const net::Prefix& prefix, Sense sense);
    RuleText& recent(std::string_view list);
    RuleText& change_mark(std::string_view option, std::uint32_t bits, std::uint32_t mask);

    std::string& out_;
    const Form form_;
    const net::Family family_;
};

// The rule in the form of iptables-save 1.8.9, whatever program or version wrote it (kube-proxy's order of arguments, a
// saved rule of another version): arguments in order, prefixes and quotes written out, probabilities as the kernel
// rounds them. `rule` begins with its operation and chain. What it does not know stays as it is, in its place. A rule
// that cannot be read (an open quote) is returned unchanged.
[[nodiscard]] std::string canonical(std::string_view rule, net::Family family);

}  // namespace ghostip::kernel::iptables

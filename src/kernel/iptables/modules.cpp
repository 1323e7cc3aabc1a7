#include "kernel/iptables/modules.h"

#include <algorithm>

#include "kernel/iptables/saved_value.h"

namespace ghostip::kernel::iptables {
namespace {

using enum ValueForm;

const std::vector<OptionRule>& recent_options() {
    static const std::vector<OptionRule> options{
        {"--set", "", kNone},
        {"--rcheck", "", kNone},
        {"--update", "", kNone},
        {"--remove", "", kNone},
        {"--seconds"},
        {"--reap", "", kNone},
        {"--hitcount"},
        {"--rttl", "", kNone},
        {"--name", "", kAsIs, " --name DEFAULT", " --name DEFAULT"},
        {"--mask", "", kAsIs, " --mask 255.255.255.255", " --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"--rsource", "", kNone, " --rsource", " --rsource", "--rdest"},
        {"--rdest", "", kNone},
    };
    return options;
}

const std::vector<Module>& matches() {
    static const OptionRule sport{"--sport", "--source-port", kPorts};
    static const OptionRule dport{"--dport", "--destination-port", kPorts};
    static const std::vector<Module> modules{
        {"addrtype",
         {{"--src-type", "", kAddressTypes},
          {"--dst-type", "", kAddressTypes},
          {"--limit-iface-in", "", kNone},
          {"--limit-iface-out", "", kNone}}},
        {"comment", {{"--comment", "", kQuoted}}},
        {"conntrack", {{"--ctstate", "", kStates}}},
        {"mark", {{"--mark", "", kMark}}},
        {"nfacct", {{"--nfacct-name", "", kAfterTwoSpaces}}},
        {"recent", recent_options()},
        {"sctp", {sport, dport}},
        {"set", {{"--match-set", "", kPair}}},
        {"state", {{"--state", "", kStates}}},
        {"statistic", {{"--mode"}, {"--probability", "", kProbability}, {"--every"}, {"--packet"}}},
        {"tcp", {sport, dport, {"--tcp-option"}, {"--tcp-flags", "", kPair}, {"--tcp-flags", "--syn", kSyn}}},
        {"udp", {sport, dport}},
    };
    return modules;
}

const std::vector<Module>& targets() {
    static const OptionRule random{"--random", "", kNone};
    static const OptionRule fully{"--random-fully", "", kNone};
    static const OptionRule persistent{"--persistent", "", kNone};
    static const std::vector<Module> modules{
        {"DNAT", {{"--to-destination"}, random, persistent}},
        {"MARK",
         {{"--set-xmark", "", kSetXmark},
          {"--set-xmark", "--set-mark", kSetMark},
          {"--set-xmark", "--or-mark", kOrMark},
          {"--set-xmark", "--xor-mark", kXorMark},
          {"--set-xmark", "--and-mark", kAndMark}}},
        {"MASQUERADE", {{"--to-ports"}, random, fully}},
        {"REJECT",
         {{"--reject-with", "", kAsIs, " --reject-with icmp-port-unreachable",
           " --reject-with icmp6-port-unreachable"}}},
        {"SNAT", {{"--to-source"}, random, fully, persistent}},
    };
    return modules;
}

const Module* find(const std::vector<Module>& modules, std::string_view name) {
    const auto found = std::find_if(modules.begin(), modules.end(), [&](const Module& m) { return m.name == name; });
    return found == modules.end() ? nullptr : &*found;
}

}  // namespace

std::size_t OptionRule::values() const {
    if (form == kNone || form == kSyn) return 0;
    return form == kPair ? 2 : 1;
}

std::size_t Module::find(std::string_view option) const {
    // Rows of the same name stand for one option in other words; the first has it by name.
    const auto found = std::find_if(options.begin(), options.end(), [&](const OptionRule& rule) {
        return rule.name == option || (!rule.alias.empty() && rule.alias == option);
    });
    return static_cast<std::size_t>(found - options.begin());
}

const Module* find_match(std::string_view name) { return find(matches(), name); }

const Module* find_target(std::string_view name) { return find(targets(), name); }

void append_option(std::string& out, const OptionRule& option, bool negated,
                   const std::vector<std::string_view>& values) {
    if (negated) out += " !";
    out += ' ';
    out += option.name;
    if (option.form == kSyn) out += " FIN,SYN,RST,ACK SYN";
    for (const auto value : values) {
        out += option.form == kAfterTwoSpaces ? "  " : " ";
        append_value(out, option.form, value);
    }
}

}  // namespace ghostip::kernel::iptables

// For tests: walks the first packet of a connection through the rules that the twin holds, as Linux would: nat in
// prerouting or output, then filter. Only what this mode's rules consist of is understood; anything else is an error.
// Where rules throw dice or remember clients, all ways are walked.
#pragma once

#include <gtest/gtest.h>
#include <algorithm>

#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "kernel/iptables/memory.h"
#include "kernel/iptables/words.h"
#include "plan/explain.h"
#include "plan/plan.h"

namespace ghostip::dataplane::iptables::testing {

struct Packet {
    net::IpAddress source;
    net::IpAddress destination;
    net::Protocol protocol = net::Protocol::kTcp;
    std::uint16_t port = 0;
    std::string interface;  // that it came in by
    bool marked = false;
    std::optional<plan::AddressPort> translated;

    friend auto operator<=>(const Packet&, const Packet&) = default;
};

struct Arrival {
    std::string verdict;  // "passes", "drop", "reject"
    std::optional<plan::AddressPort> translated;
    bool masqueraded = false;

    friend auto operator<=>(const Arrival&, const Arrival&) = default;
    friend std::ostream& operator<<(std::ostream& out, const Arrival& arrival) {
        out << arrival.verdict;
        if (arrival.translated) out << " at " << net::host_port(arrival.translated->address, arrival.translated->port);
        return out << (arrival.masqueraded ? ", masqueraded" : "");
    }
};

class PacketWalk {
  public:
    PacketWalk(const kernel::iptables::MemoryIptables& twin, const plan::NodeRules& node) : node_(node) {
        for (const char* table : {"nat", "filter"})
            for (const auto& line : twin.saved(table)) {
                if (!line.starts_with("-A ")) continue;
                const auto words = kernel::iptables::split_words(line);
                Rule rule;
                for (auto word = words->begin() + 2; word != words->end(); ++word) rule.push_back(word->value);
                chains_[{table, words->at(1).value}].push_back(std::move(rule));
            }
    }

    // All ways on which a packet of this flow may end.
    [[nodiscard]] std::set<Arrival> walk(const plan::Flow& flow) const {
        const Packet packet{flow.source, flow.destination, flow.protocol, flow.port, flow.interface, false, {}};
        const bool from_here = is_local(flow.source);
        std::set<Arrival> arrivals;
        for (Packet after : translate(from_here ? "OUTPUT" : "PREROUTING", packet)) {
            const bool to_here = is_local(after.destination);
            std::string verdict;
            if (from_here) verdict = filter("OUTPUT", after);
            if (from_here) after.interface = "lo";
            if (verdict.empty() && to_here) verdict = filter("INPUT", after);
            if (verdict.empty() && !from_here && !to_here) verdict = filter("FORWARD", after);
            arrivals.insert({verdict.empty() ? "passes" : verdict, after.translated, after.marked});
        }
        return arrivals;
    }

  private:
    using Rule = std::vector<std::string>;
    struct Where {
        std::string table;
        std::string chain;
        friend auto operator<=>(const Where&, const Where&) = default;
    };
    enum class Fits { kYes, kNo, kMaybe };
    // What a walk through one chain may end with.
    struct Way {
        Packet packet;
        std::string verdict;  // empty: the end of the chain was reached
    };

  public:
    [[nodiscard]] bool is_local(const net::IpAddress& address) const {
        return address.is_loopback() ||
               std::find(node_.addresses.begin(), node_.addresses.end(), address) != node_.addresses.end();
    }

  private:
    static bool in_states(const std::string& states, const Packet& packet) {
        std::string_view left = states;
        while (!left.empty()) {
            const auto state = left.substr(0, left.find(','));
            if (state == "NEW" || (state == "DNAT" && packet.translated)) return true;
            left.remove_prefix(std::min(state.size() + 1, left.size()));
        }
        return false;
    }

    // Takes the words of a rule one by one; leaves `at` at its target.
    [[nodiscard]] Fits fits(const Rule& rule, const Packet& packet, std::size_t& at) const {
        bool maybe = false;
        bool negated = false;
        for (at = 0; at < rule.size() && rule[at] != "-j"; ++at) {
            const std::string word = rule[at];
            if (word == "!") {
                negated = true;
                continue;
            }
            const auto value = [&]() -> const std::string& { return rule.at(++at); };
            bool yes = true;
            if (word == "-s") {
                yes = net::Prefix::parse_lenient(value())->contains(packet.source);
            } else if (word == "-d") {
                yes = net::Prefix::parse_lenient(value())->contains(packet.destination);
            } else if (word == "-i") {
                const std::string& name = value();
                yes = name.ends_with('+') ? packet.interface.starts_with(name.substr(0, name.size() - 1))
                                          : packet.interface == name;
            } else if (word == "-p") {
                yes = value() == net::protocol_lower_name(packet.protocol);
            } else if (word == "--dport") {
                yes = value() == std::to_string(packet.port);
            } else if (word == "--src-type") {
                yes = value() == std::string("LOCAL") && is_local(packet.source);
            } else if (word == "--dst-type") {
                yes = value() == std::string("LOCAL") && is_local(packet.destination);
            } else if (word == "--mark") {
                value();
                yes = packet.marked;
            } else if (word == "--ctstate") {
                yes = in_states(value(), packet);
            } else if (word == "--probability" || word == "--rcheck") {
                if (word == "--probability") value();
                maybe = true;
            } else if (word == "-m" || word == "--comment" || word == "--mode" || word == "--nfacct-name" ||
                       word == "--seconds" || word == "--name" || word == "--mask") {
                value();
            } else if (word != "--set" && word != "--reap" && word != "--rsource") {
                ADD_FAILURE() << "the walk does not understand " << word;
            }
            if (yes == negated) return Fits::kNo;
            negated = false;
        }
        return maybe ? Fits::kMaybe : Fits::kYes;
    }

    static plan::AddressPort parse_end(const std::string& text) {
        const auto colon = text.rfind(':');
        std::string address = text.substr(0, colon);
        if (address.starts_with('[')) address = address.substr(1, address.size() - 2);
        return {*net::IpAddress::parse(address), static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1)))};
    }

    [[nodiscard]] std::vector<Way> run(const std::string& table, const std::string& chain, const Packet& packet,
                                       std::size_t from = 0) const {
        const auto found = chains_.find({table, chain});
        Packet now = packet;
        for (std::size_t i = from; found != chains_.end() && i < found->second.size(); ++i) {
            const Rule& rule = found->second[i];
            std::size_t at = 0;
            const Fits fit = fits(rule, now, at);
            if (fit == Fits::kNo || at >= rule.size()) continue;
            std::vector<Way> ways;
            if (fit == Fits::kMaybe) ways = run(table, chain, now, i + 1);
            const std::string target = rule.at(at + 1);
            if (target == "MARK") {
                now.marked = rule.at(at + 3).ends_with("/0x0") ? !now.marked : true;
                continue;
            }
            if (target == "RETURN") {
                ways.push_back({now, ""});
                return ways;
            }
            if (target == "DNAT") {
                now.translated = parse_end(rule.at(at + 3));
                ways.push_back({now, "translated"});
                return ways;
            }
            if (target == "ACCEPT" || target == "DROP" || target == "REJECT") {
                ways.push_back({now, target == "ACCEPT" ? "accept" : target == "DROP" ? "drop" : "reject"});
                return ways;
            }
            for (auto& way : run(table, target, now)) {
                if (!way.verdict.empty()) {
                    ways.push_back(std::move(way));
                    continue;
                }
                auto rest = run(table, chain, way.packet, i + 1);
                ways.insert(ways.end(), rest.begin(), rest.end());
            }
            return ways;
        }
        return {{now, ""}};
    }

    [[nodiscard]] std::set<Packet> translate(const std::string& hook, const Packet& packet) const {
        std::set<Packet> packets;
        for (auto& way : run("nat", hook, packet)) {
            if (way.packet.translated) {
                way.packet.destination = way.packet.translated->address;
                way.packet.port = way.packet.translated->port;
            }
            packets.insert(way.packet);
        }
        return packets;
    }

    [[nodiscard]] std::string filter(const std::string& hook, const Packet& packet) const {
        const auto ways = run("filter", hook, packet);
        return ways.front().verdict == "accept" ? "" : ways.front().verdict;
    }

    const plan::NodeRules& node_;
    std::map<Where, std::vector<Rule>> chains_;
};

// The same, as the plan says it.
inline std::set<Arrival> arrivals_of(const plan::Journey& journey) {
    std::set<Arrival> arrivals;
    switch (journey.verdict) {
        case plan::Verdict::kNotOurs: return {{"passes", {}, false}};
        case plan::Verdict::kRejected: return {{"reject", {}, false}};
        case plan::Verdict::kDropped: return {{"drop", {}, false}};
        case plan::Verdict::kBalanced: break;
    }
    for (const auto& endpoint : journey.pool)
        arrivals.insert(
            {"passes", plan::AddressPort{endpoint.address, endpoint.port}, journey.masquerades_for(endpoint)});
    return arrivals;
}

}  // namespace ghostip::dataplane::iptables::testing

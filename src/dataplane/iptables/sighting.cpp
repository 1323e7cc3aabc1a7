#include "dataplane/iptables/sighting.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "dataplane/iptables/desired.h"
#include "dataplane/iptables/render_fixed.h"
#include "dataplane/iptables_variant.h"
#include "kernel/iptables/linux.h"
#include "kernel/iptables/versions.h"

namespace ghostip::dataplane::iptables {
namespace {

using kernel::iptables::Iptables;
using kernel::iptables::LinuxIptables;

struct InTable {
    std::string_view table;
    std::string chain;

    friend auto operator<=>(const InTable&, const InTable&) = default;
};
using Lines = std::vector<std::string>;

Lines lines_of(std::string_view text) {
    Lines lines;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        lines.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

class Reader {
  public:
    Reader(Iptables& iptables, const plan::Plan& plan, const plan::Journey& journey)
        : iptables_(iptables), plan_(plan), journey_(journey) {
        if (journey.destination)
            key_ = journey.destination->key;
        else
            key_ = {false, journey.flow.destination, journey.flow.protocol, journey.flow.port};
    }

    Result<Sighting> read() {
        RETURN_IF_ERROR(load());
        const Context context = context_for(plan_.node, plan_.family, abilities(), known_endpoints(plan_));
        Context commented = context;
        commented.endpoint_comments = !context.endpoint_comments;
        look_at_frame(context);
        if (!journey_.destination || !journey_.service_port) {
            look_at_dispatch({});
            return std::move(seen_);
        }
        plan::ServicePortPlan only = *journey_.service_port;
        only.destinations = {*journey_.destination};
        const auto dispatch = render_service_port(only, 0, context).dispatch;
        look_at_dispatch(dispatch);
        look_at_chains(dispatch, render_service_port(*journey_.service_port, 0, context),
                       render_service_port(*journey_.service_port, 0, commented));
        return std::move(seen_);
    }

  private:
    template <typename... Arguments>
    void differ(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
        seen_.differences.push_back(fmt::format(format, std::forward<Arguments>(arguments)...));
    }

    // Of shared chains only what can match this packet, of the others what the packet can come to.
    Result<void> load() {
        std::set<std::string, std::less<>> own;
        if (journey_.service_port) {
            const auto context = context_for(plan_.node, plan_.family, {}, 0);
            for (const auto& chain : render_service_port(*journey_.service_port, 0, context).chains)
                own.insert(chain.name);
        }
        for (const char* table : {tables::kNat, tables::kFilter})
            RETURN_IF_ERROR(iptables_.save(table, [&](std::string_view line) {
                if (!line.starts_with("-A ")) return;
                const auto name = line.substr(3, line.find(' ', 3) - 3);
                counters_ = counters_ || line.find(kLoopbackNodePorts) != std::string_view::npos;
                if (is_service_chain(name) && !own.contains(name)) return;
                auto canonical = kernel::iptables::canonical(line, plan_.family);
                const bool shared = std::any_of(kPlaces.begin(), kPlaces.end(), [&](Place place) {
                    return table_of(place) == table && chain_of(place) == name;
                });
                if (shared && !concerns_packet(canonical)) return;
                held_[{table, std::string(name)}].push_back(std::move(canonical));
            }));
        return {};
    }

    [[nodiscard]] bool concerns_packet(const std::string& rule) const {
        const auto has = [&](const std::string& words) { return rule.find(words) != std::string::npos; };
        if (has(fmt::format("-j {}", chains::kNodePorts))) return true;
        if (!has(fmt::format(" -p {} ", net::protocol_lower_name(key_.protocol))) ||
            !has(fmt::format(" --dport {} ", key_.port)))
            return false;
        if (key_.node_port) return true;
        return has(fmt::format(" -d {} ", net::Prefix::host(key_.address).text()));
    }

    // What cannot be told from the plan is taken as it is found.
    [[nodiscard]] Abilities abilities() const {
        Abilities abilities;
        abilities.random_fully = kernel::iptables::has_random_fully(iptables_.version());
        abilities.counters = counters_;
        return abilities;
    }

    [[nodiscard]] const Lines& held(std::string_view table, std::string_view chain) const {
        static const Lines kNone;
        const auto found = held_.find({table, std::string(chain)});
        return found == held_.end() ? kNone : found->second;
    }

    void look_at_frame(const Context& context) {
        for (const auto& jump : render_jumps(context)) {
            const auto& there = held(jump.table, jump.chain);
            const std::string wanted = fmt::format("-A {}{}", jump.chain, jump.rule);
            if (std::find(there.begin(), there.end(), wanted) == there.end())
                differ("table {} lacks the rule {}", jump.table, wanted);
        }
        for (const auto& chain : render_fixed_chains(context))
            if (chain.table == tables::kNat && held(tables::kNat, chain.name) != lines_of(chain.rules))
                differ("chain {} of table nat has other rules than it should have", chain.name);
        if (!key_.node_port) return;
        for (const auto& rule : render_tail(context)) {
            const auto& there = held(tables::kNat, chains::kServices);
            if (std::find(there.begin(), there.end(), fmt::format("-A {}{}", chains::kServices, rule)) == there.end())
                differ("chain {} of table nat lacks the rule {}", chains::kServices, rule.substr(1));
        }
    }

    void look_at_dispatch(const std::vector<Dispatch>& wanted) {
        for (const auto place : kPlaces) {
            if (place == Place::kHealthChecks) continue;
            Lines left;
            for (const auto& one : wanted)
                if (one.place == place) left.push_back(fmt::format("-A {}{}", chain_of(place), one.rule));
            for (const auto& line : held(table_of(place), chain_of(place))) {
                if (line.find(fmt::format("-j {}", chains::kNodePorts)) != std::string::npos) continue;
                seen_.found.push_back(fmt::format("{}: {}", table_of(place), line));
                const auto found = std::find(left.begin(), left.end(), line);
                if (found != left.end())
                    left.erase(found);
                else
                    differ("table {} has the rule {}, which the plan has not", table_of(place), line);
            }
            for (const auto& line : left) differ("table {} lacks the rule {}", table_of(place), line);
        }
    }

    // All that the rules of this destination lead to, in the packet's order.
    void look_at_chains(const std::vector<Dispatch>& dispatch, const Rules& rules, const Rules& commented) {
        std::vector<const Chain*> way;
        const auto follow = [&](std::string_view text) {
            for (const auto& chain : rules.chains)
                if (text.find(fmt::format("-j {}", chain.name)) != std::string_view::npos &&
                    std::find(way.begin(), way.end(), &chain) == way.end())
                    way.push_back(&chain);
        };
        for (const auto& one : dispatch) follow(one.rule);
        for (std::size_t i = 0; i < way.size(); ++i) follow(way[i]->rules);
        for (const auto* chain : way) {
            const auto& there = held(tables::kNat, chain->name);
            for (const auto& line : there) seen_.found.push_back(fmt::format("nat: {}", line));
            if (there.empty())
                differ("chain {} of table nat is missing or empty", chain->name);
            else if (there != lines_of(chain->rules) &&
                     there != lines_of(commented.find(tables::kNat, chain->name)->rules))
                differ("chain {} of table nat has other rules than it should have", chain->name);
        }
    }

    Iptables& iptables_;
    const plan::Plan& plan_;
    const plan::Journey& journey_;
    plan::DestinationKey key_;
    std::map<InTable, Lines> held_;
    bool counters_ = false;
    Sighting seen_;
};

}  // namespace

Result<Sighting> sight(Iptables& iptables, const plan::Plan& plan, const plan::Journey& journey) {
    return Reader(iptables, plan, journey).read();
}

Result<Sighting> sight(const plan::Plan& plan, const plan::Journey& journey, const Options& options) {
    ASSIGN_OR_RETURN(const auto variant, choose_variant(options));
    ASSIGN_OR_RETURN(const auto iptables, LinuxIptables::open(variant, plan.family));
    return sight(*iptables, plan, journey);
}

}  // namespace ghostip::dataplane::iptables

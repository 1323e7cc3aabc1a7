#include "dataplane/ipvs/compare.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "dataplane/ipvs/observed.h"

namespace ghostip::dataplane::ipvs {
namespace {

using kernel::ipvs::ServiceKey;

constexpr std::size_t kMostExamples = 5;

// Everything that is wanted, front by front, against what is there.
class Comparer {
  public:
    Comparer(const Kernel& kernel, const plan::Plan& plan, const Context& context, const std::set<ServiceKey>& known,
             Observed observed)
        : kernel_(kernel),
          plan_(plan),
          limits_(without_taken(context.limits)),
          context_{context.node, context.family, context.options, limits_},
          known_(known),
          observed_(std::move(observed)) {}

    Result<Comparison> run(bool random_fully) {
        ASSIGN_OR_RETURN(auto fronts, accepted_fronts());
        for (auto& front : fronts) RETURN_IF_ERROR(take(std::move(front)));
        look_at_other_entries();
        look_at_unwanted();
        look_at_addresses();
        const auto rules =
            change_of(render_chains({plan_.node, plan_.family, random_fully}, text_of(result_.short_circuits)),
                      render_jumps(plan_.family), observed_.rules);
        for (const auto& one : rules.differs) result_.differ(one);
        result_.rules = std::move(observed_.rules);
        return std::move(result_);
    }

  private:
    // Who has what is found anew.
    static Limits without_taken(Limits limits) {
        limits.taken.clear();
        return limits;
    }

    // Without those that somebody else has: who was there before, and among Services the kind that counts more.
    Result<std::vector<Front>> accepted_fronts() {
        std::vector<Front> all;
        for (const auto& [name, service_port] : plan_.service_ports)
            for (auto& front : render_fronts(*service_port, context_)) all.push_back(std::move(front));
        std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.kind < b.kind; });
        std::vector<Front> accepted;
        accepted.reserve(all.size());
        for (auto& front : all) {
            if (const auto aside = Aside::beforehand(front, context_)) {
                result_.aside.emplace(front.key, *aside);
                continue;
            }
            ASSIGN_OR_RETURN(const auto objections, objections_to(front));
            if (!objections.empty() && !front.key.node_port) {
                result_.aside.emplace(front.key, Aside::of(front, objections.begin()->second));
                continue;
            }
            for (const auto& [key, reason] : objections) leave_out(front, key);
            result_.taken.insert(objections.begin(), objections.end());
            for (const auto& server : front.servers) wanted_.insert(server.service.key);
            if (!front.servers.empty()) accepted.push_back(std::move(front));
        }
        return accepted;
    }

    // Virtual servers of the front that somebody else has.
    Result<std::map<ServiceKey, std::string>> objections_to(const Front& front) const {
        std::map<ServiceKey, std::string> objections;
        for (const auto& server : front.servers) {
            const auto& key = server.service.key;
            if (wanted_.contains(key)) {
                objections.emplace(key, another_service_has(key));
                continue;
            }
            if (!observed_.services.contains(key) || is_ours(key)) continue;
            ASSIGN_OR_RETURN(const bool was_ours, has_lost_its_element(front, server));
            if (!was_ours) objections.emplace(key, somebody_else_has(key));
        }
        return objections;
    }

    bool is_ours(const ServiceKey& key) const { return known_.contains(key) || observed_.is_ours(key); }

    // Somebody flushed the sets, or took an element out, and this process has just started. An address of the device
    // stands in its set before the device has it; and nobody else's virtual server is what ours would be.
    Result<bool> has_lost_its_element(const Front& front, const Server& wanted) const {
        const auto& key = wanted.service.key;
        const bool bound = front.address && observed_.bound.contains(*front.address);
        if (bound && !observed_.has(address_entry(Set::kIpvsIps, *front.address))) return true;
        if (observed_.services.at(key) != wanted.service) return false;
        ASSIGN_OR_RETURN(const auto behind, kernel_.ipvs->destinations(key));
        const bool shares_one = std::any_of(behind.begin(), behind.end(), [&](const auto& held) {
            return std::any_of(wanted.destinations.begin(), wanted.destinations.end(),
                               [&](const auto& one) { return one.key == held.key; });
        });
        return shares_one || (bound && behind.empty() && wanted.destinations.empty());
    }

    Result<void> take(Front front) {
        FrontChange change;
        change.before.key = front.key;
        change.before.kind = front.kind;
        change.before.name = front.name;
        for (const auto& server : front.servers) {
            const auto there = observed_.services.find(server.service.key);
            if (there == observed_.services.end()) continue;
            Server held{there->second, {}};
            ASSIGN_OR_RETURN(const auto behind, kernel_.ipvs->destinations(server.service.key));
            for (const auto& destination : behind) sort_in(destination, server, held);
            std::sort(held.destinations.begin(), held.destinations.end());
            change.before.servers.push_back(std::move(held));
        }
        std::copy_if(front.entries.begin(), front.entries.end(), std::back_inserter(change.before.entries),
                     [&](const auto& entry) { return observed_.has(entry); });
        for (const auto& entry : front.entries) want(entry);
        if (front.address) ++result_.addresses[*front.address];
        if (!front.short_circuit.empty()) result_.short_circuits[front.key] = front.short_circuit;
        if (change.before.servers == front.servers && change.before.entries == front.entries) return {};
        result_.differ(front.text());
        change.after = std::move(front);
        result_.changes.push_back(std::move(change));
        return {};
    }

    // Weight 0 and not in the plan: it drains, whoever began it.
    void sort_in(kernel::ipvs::Destination destination, const Server& wanted, Server& held) {
        const auto connections = std::exchange(destination.connections, {});
        const bool planned = std::any_of(wanted.destinations.begin(), wanted.destinations.end(),
                                         [&](const auto& one) { return one.key == destination.key; });
        if (planned || destination.weight != 0 || !drains(wanted.service)) {
            held.destinations.push_back(destination);
            return;
        }
        result_.draining.insert({held.service.key, destination.key});
        result_.drained = result_.drained || (connections.active == 0 && connections.inactive == 0);
    }

    void want(const SetEntry& entry) { entries_[static_cast<std::size_t>(entry.set)].push_back(entry.element); }

    void look_at_other_entries() {
        std::vector<SetEntry> others;
        for (const auto& [hairpin, count] : plan_.hairpins) others.push_back(hairpin_entry(hairpin));
        for (const auto& [service, check] : plan_.health_checks) others.push_back(health_check_entry(check.node_port));
        for (const auto& [address, count] : result_.addresses) others.push_back(address_entry(Set::kIpvsIps, address));
        for (const auto& entry : others) {
            want(entry);
            if (observed_.has(entry)) continue;
            result_.differ(fmt::format("set {}", set_name(entry.set, plan_.family)));
            result_.added.push_back(entry);
        }
    }

    void look_at_unwanted() {
        for (const auto& row : set_rows()) {
            const auto index = static_cast<std::size_t>(row.set);
            if (!observed_.sets[index]) {
                result_.differ(fmt::format("set {} is missing", set_name(row.set, plan_.family)));
                continue;
            }
            auto& wanted = entries_[index];
            std::sort(wanted.begin(), wanted.end());
            for (const auto& element : *observed_.sets[index]) {
                if (std::binary_search(wanted.begin(), wanted.end(), element)) continue;
                result_.removed.push_back({row.set, element});
                result_.differ(fmt::format("set {} has {}", set_name(row.set, plan_.family),
                                           kernel::ipset::text(row.type, element)));
            }
        }
        for (const auto& [key, service] : observed_.services) {
            if (wanted_.contains(key) || !is_ours(key)) continue;
            // One that a set names was written before its address was excluded.
            if (is_excluded(key.address, context_.options) && !observed_.is_named(key)) continue;
            FrontChange change;
            change.before.servers.push_back({service, {}});
            result_.differ(fmt::format("virtual server {}", text(key)));
            result_.changes.push_back(std::move(change));
        }
    }

    void look_at_addresses() {
        for (const auto& [address, count] : result_.addresses)
            if (!observed_.bound.contains(address))
                result_.differ(fmt::format("device {} lacks {}", kDevice, address.text()));
        for (const auto& address : observed_.bound) {
            if (result_.addresses.contains(address)) continue;
            result_.differ(fmt::format("device {} has {}", kDevice, address.text()));
            result_.unbind.push_back(address);
        }
        result_.bound = std::move(observed_.bound);
    }

    const Kernel& kernel_;
    const plan::Plan& plan_;
    const Limits limits_;
    const Context context_;
    const std::set<ServiceKey>& known_;
    Observed observed_;
    std::set<ServiceKey> wanted_;
    std::array<std::vector<kernel::ipset::Element>, kSetCount> entries_;
    Comparison result_;
};

}  // namespace

void Comparison::differ(std::string example) {
    if (++differences <= kMostExamples) examples.push_back(std::move(example));
}

std::optional<Aside> Aside::beforehand(const Front& front, const Context& context) {
    if (front.key.node_port) return std::nullopt;
    if (is_excluded(front.key.address, context.options)) {
        auto aside = of(front, "its address is excluded (ipvs.excludeCIDRs)");
        aside.by_option = true;
        return aside;
    }
    if (!front.address) return std::nullopt;
    const auto refused = context.limits.refused_addresses.find(*front.address);
    if (refused == context.limits.refused_addresses.end()) return std::nullopt;
    return of(front, refused->second);
}

std::string another_service_has(const ServiceKey& key) {
    return fmt::format("another Service has the virtual server {}", text(key));
}

std::string somebody_else_has(const ServiceKey& key) {
    return fmt::format("the virtual server {} is there already and not ours", text(key));
}

std::string text_of(const std::map<plan::DestinationKey, std::string>& short_circuits) {
    std::string text;
    for (const auto& [key, rule] : short_circuits) text += rule;
    return text;
}

Result<Comparison> compare(const Kernel& kernel, const plan::Plan& plan, const Context& context,
                           const std::set<ServiceKey>& known, bool random_fully) {
    ASSIGN_OR_RETURN(auto observed, observe(kernel, plan.family));
    return Comparer(kernel, plan, context, known, std::move(observed)).run(random_fully);
}

}  // namespace ghostip::dataplane::ipvs

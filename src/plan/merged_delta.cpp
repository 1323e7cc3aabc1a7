#include "plan/merged_delta.h"

#include <utility>

namespace ghostip::plan {
namespace {

bool is_nothing(const ServicePortChange& change) {
    if (!change.before || !change.after) return !change.before && !change.after;
    return change.before == change.after || *change.before == *change.after;
}

// Everything else that has a before and an after.
template <typename Change>
bool is_nothing(const Change& change) {
    return change.before == change.after;
}

}  // namespace

template <typename Key, typename Change>
void MergedDelta::put(Changes<Key, Change>& changes, const Key& key, const Change& later) {
    const auto [place, is_new] = changes.places.try_emplace(key, changes.in_order.size());
    if (is_new) {
        changes.in_order.push_back(later);
    } else {
        changes.in_order[place->second]->after = later.after;
    }
    if (!is_nothing(*changes.in_order[place->second])) return;
    changes.in_order[place->second].reset();
    changes.places.erase(place);
    if (changes.places.empty()) changes.in_order.clear();
}

template <typename Key>
void MergedDelta::put_all(Presences<Key>& presences, const std::vector<Key>& added, const std::vector<Key>& removed) {
    for (const auto& key : added) put(presences, key, Presence<Key>{key, false, true});
    for (const auto& key : removed) put(presences, key, Presence<Key>{key, true, false});
}

void MergedDelta::add(const Delta& later) {
    for (const auto& change : later.service_ports)
        put(service_ports_, (change.after ? change.after : change.before)->name, change);
    put_all(cluster_ips_, later.cluster_ips_added, later.cluster_ips_removed);
    put_all(hairpins_, later.hairpins_added, later.hairpins_removed);
    for (const auto& change : later.health_checks) put(health_checks_, change.service, change);
    if (later.node_rules) {
        if (node_rules_)
            node_rules_->after = later.node_rules->after;
        else
            node_rules_ = later.node_rules;
        if (is_nothing(*node_rules_)) node_rules_.reset();
    }
}

bool MergedDelta::empty() const {
    return service_ports_.places.empty() && cluster_ips_.places.empty() && hairpins_.places.empty() &&
           health_checks_.places.empty() && !node_rules_;
}

Delta MergedDelta::delta() const {
    Delta delta;
    for (const auto& change : service_ports_.in_order)
        if (change) delta.service_ports.push_back(*change);
    for (const auto& one : cluster_ips_.in_order)
        if (one) (one->after ? delta.cluster_ips_added : delta.cluster_ips_removed).push_back(one->key);
    for (const auto& one : hairpins_.in_order)
        if (one) (one->after ? delta.hairpins_added : delta.hairpins_removed).push_back(one->key);
    for (const auto& change : health_checks_.in_order)
        if (change) delta.health_checks.push_back(*change);
    delta.node_rules = node_rules_;
    return delta;
}

Delta MergedDelta::take() {
    auto result = delta();
    *this = {};
    return result;
}

Delta merge(const Delta& earlier, const Delta& later) {
    MergedDelta merged;
    merged.add(earlier);
    merged.add(later);
    return merged.take();
}

}  // namespace ghostip::plan

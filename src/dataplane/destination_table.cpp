#include "dataplane/destination_table.h"

#include <algorithm>
#include <mutex>

namespace ghostip::dataplane {

using plan::DestinationKey;
using relay::Answer;
using Verdict = Answer::Verdict;

namespace {

// By a service of the one that was dialled, for its metrics, although none of its pools is asked.
Answer counted(Verdict verdict, const PoolServices& services) {
    return {verdict, services.cluster != relay::ServiceId{} ? services.cluster : services.local};
}

}  // namespace

void DestinationTable::set_node(const plan::NodeRules& node) {
    const std::unique_lock lock(mutex_);
    detector_ = node.detector;
    addresses_ = node.addresses;
}

void DestinationTable::put(const plan::ServicePortName& owner, const plan::Destination& destination,
                           const PoolServices& services) {
    const std::unique_lock lock(mutex_);
    entries_.insert_or_assign(destination.key, Entry{owner, destination, services});
}

void DestinationTable::erase(const plan::ServicePortName& owner, const DestinationKey& key) {
    const std::unique_lock lock(mutex_);
    const auto found = entries_.find(key);
    if (found != entries_.end() && found->second.owner == owner) entries_.erase(found);
}

plan::SourceClass DestinationTable::classify(const net::IpAddress& client) const {
    if (detector_.kind == plan::LocalDetector::Kind::kCidr && detector_.cidr.contains(client))
        return plan::SourceClass::kPod;
    return client.is_loopback() || std::binary_search(addresses_.begin(), addresses_.end(), client)
               ? plan::SourceClass::kNode
               : plan::SourceClass::kOutside;
}

Answer DestinationTable::led_here(const relay::Arrival& arrival, plan::PoolScope scope) const {
    const auto& dialled = arrival.destination;
    const std::shared_lock lock(mutex_);
    auto found = entries_.find({false, dialled.address, arrival.protocol, dialled.port});
    if (found == entries_.end())
        found = entries_.find({true, net::IpAddress(dialled.address.family()), arrival.protocol, dialled.port});
    if (found == entries_.end()) return Answer::refuse();
    const auto service = found->second.services.of(scope);
    return service == relay::ServiceId{} ? Answer::refuse() : Answer::serve(service);
}

Answer DestinationTable::came(const relay::Arrival& arrival, const DestinationKey& key) const {
    const auto& client = arrival.client.address;
    const std::shared_lock lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end()) return Answer::refuse();
    const auto& [owner, destination, services] = found->second;
    const auto& allowed = destination.allowed_sources;
    if (!allowed.empty() &&
        std::none_of(allowed.begin(), allowed.end(), [&](const auto& range) { return range.contains(client); }))
        return counted(Verdict::kDrop, services);
    const auto& treatment = destination.treatment(classify(client));
    switch (treatment.action) {
        case plan::Action::kReject: return counted(Verdict::kRefuse, services);
        case plan::Action::kDrop: return counted(Verdict::kDrop, services);
        case plan::Action::kBalance: break;
    }
    const auto service = services.of(treatment.pool);
    return service == relay::ServiceId{} ? Answer::refuse() : Answer::serve(service);
}

}  // namespace ghostip::dataplane

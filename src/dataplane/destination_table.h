// What a client gets that arrives at a listener of this process: looked up on the relay's threads while plans change.
//
// Where the kernel led the client here it has decided who may; where nothing stands before the listener, the plan's
// policy is asked here: source ranges, traffic policies, refusals. Any thread.
#pragma once

#include <shared_mutex>
#include <unordered_map>

#include "plan/plan.h"
#include "relay/listener.h"

namespace ghostip::dataplane {

// The services of one service port; 0 where nobody was ever in the pool.
struct PoolServices {
    relay::ServiceId cluster{};
    relay::ServiceId local{};

    [[nodiscard]] relay::ServiceId of(plan::PoolScope scope) const {
        return scope == plan::PoolScope::kCluster ? cluster : local;
    }
};

class DestinationTable {
  public:
    // The source class is found by address: a detector that goes by interface knows no pods here.
    void set_node(const plan::NodeRules& node);
    void put(const plan::ServicePortName& owner, const plan::Destination& destination, const PoolServices& services);
    // Unless it has another owner by now.
    void erase(const plan::ServicePortName& owner, const plan::DestinationKey& key);

    // A client that the kernel led here, to the listener of this scope. Refused where no Service has what it dialled.
    [[nodiscard]] relay::Answer led_here(const relay::Arrival& arrival, plan::PoolScope scope) const;
    // A client that came by itself, as to this destination.
    [[nodiscard]] relay::Answer came(const relay::Arrival& arrival, const plan::DestinationKey& key) const;

  private:
    struct Entry {
        plan::ServicePortName owner;
        plan::Destination destination;
        PoolServices services;
    };
    [[nodiscard]] plan::SourceClass classify(const net::IpAddress& client) const;  // with mutex_ held

    mutable std::shared_mutex mutex_;
    plan::LocalDetector detector_;                             // guarded by mutex_
    std::vector<net::IpAddress> addresses_;                    // guarded by mutex_; of this node, sorted
    std::unordered_map<plan::DestinationKey, Entry> entries_;  // guarded by mutex_
};

}  // namespace ghostip::dataplane

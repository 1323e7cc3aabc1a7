// Consecutive deltas of one family, made one: applying it does what applying each of them in turn does. What came and
// went again in between is not in it. A value; costs what is put in, however much is there already.
#pragma once

#include <cstddef>
#include <optional>
#include <unordered_map>
#include <vector>

#include "plan/plan.h"

namespace ghostip::plan {

class MergedDelta {
  public:
    // `later` begins at the plan at which what was added so far ends.
    void add(const Delta& later);

    // Nothing is different on the whole.
    [[nodiscard]] bool empty() const;
    // In the order in which things first changed.
    [[nodiscard]] Delta delta() const;
    // The same, and begins anew.
    [[nodiscard]] Delta take();

  private:
    // Changes by what they are of, in their order; those that cancelled out have an empty place.
    template <typename Key, typename Change>
    struct Changes {
        std::vector<std::optional<Change>> in_order;
        std::unordered_map<Key, std::size_t> places;  // only of those that did not cancel out
    };
    template <typename Key, typename Change>
    static void put(Changes<Key, Change>& changes, const Key& key, const Change& later);

    // Whether something is there that has no content of its own.
    template <typename Key>
    struct Presence {
        Key key;
        bool before = false;
        bool after = false;
    };
    template <typename Key>
    using Presences = Changes<Key, Presence<Key>>;
    template <typename Key>
    static void put_all(Presences<Key>& presences, const std::vector<Key>& added, const std::vector<Key>& removed);

    Changes<ServicePortName, ServicePortChange> service_ports_;
    Presences<net::IpAddress> cluster_ips_;
    Presences<Hairpin> hairpins_;
    Changes<ServiceName, HealthCheckChange> health_checks_;
    std::optional<NodeRulesChange> node_rules_;
};

// Two of them.
[[nodiscard]] Delta merge(const Delta& earlier, const Delta& later);

}  // namespace ghostip::plan

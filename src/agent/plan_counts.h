// How large the plan is, and which Services want local endpoints in vain: kept up to date from deltas, so that nobody
// walks over the plan to count. Belongs to one family's loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "plan/plan.h"

namespace ghostip::agent {

class PlanCounts {
  public:
    void apply(const plan::Delta& delta);

    [[nodiscard]] std::size_t destinations() const { return destinations_; }
    // Those that this node may send to, once for each service port.
    [[nodiscard]] std::size_t endpoints() const { return endpoints_; }
    // Services with a traffic policy of Local, endpoints on other nodes, and none here.
    [[nodiscard]] std::size_t without_local_internal() const { return internal_.size(); }
    [[nodiscard]] std::size_t without_local_external() const { return external_.size(); }

  private:
    // By Service: so many of its ports.
    using Ports = std::unordered_map<plan::ServiceName, std::uint32_t>;
    void count(const plan::ServicePortPlan& plan, int direction);

    std::size_t destinations_ = 0;
    std::size_t endpoints_ = 0;
    Ports internal_;
    Ports external_;
};

}  // namespace ghostip::agent

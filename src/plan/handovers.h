// Service ports of a delta that hand a destination from one to the other. Such go into the kernel together, or a packet
// could find the destination gone, or the kernel both their elements there.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "plan/plan.h"

namespace ghostip::plan {

// By index into Delta::service_ports.
class Handovers {
  public:
    explicit Handovers(const Delta& delta);
    // Is it written with another one?
    [[nodiscard]] bool follows(std::size_t index) const { return group_[index] != index; }
    // Those that are written with this one.
    [[nodiscard]] std::vector<std::size_t> followers(std::size_t index) const;

  private:
    [[nodiscard]] std::size_t root(std::size_t index);

    std::vector<std::size_t> group_;  // towards the one that leads
    std::map<std::size_t, std::vector<std::size_t>> members_;
};

}  // namespace ghostip::plan

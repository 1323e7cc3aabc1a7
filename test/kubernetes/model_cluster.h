// What users do to a cluster at random: Services, slices of both families, Nodes and ServiceCIDRs of
// src/plan/world_testing.h, put to a model of an API server; and a few Services that are always there, whatever
// happens.
#pragma once

#include <string>

#include "plan/world_testing.h"
#include "source/kubernetes/model_server_testing.h"

namespace ghostip::testkubernetes {

class ModelCluster {
  public:
    // Always there, each with an endpoint in both families: namespace `always`, names `s0` and on, port name "p".
    static constexpr int kImmortals = 3;

    ModelCluster(std::uint64_t seed, source::kubernetes::testing::ModelServer& server,
                 source::kubernetes::testing::Dice& dice);

    void change_something();
    void change_host();

    [[nodiscard]] const plan::NodeSettings& settings() const { return worlds_[0].settings(); }
    [[nodiscard]] const plan::HostFacts& host() const { return worlds_[0].host(); }
    [[nodiscard]] static plan::ServicePortName immortal(int number);

  private:
    using What = plan::testing::Command::What;

    void change_world(What what);
    void write_endpoints(int immortal, net::Family family);
    void put(const api::Object& object);

    source::kubernetes::testing::ModelServer& server_;
    source::kubernetes::testing::Dice& dice_;
    // One family each, as far as slices go. All else is the first one's.
    std::array<plan::testing::World, 2> worlds_;
};

}  // namespace ghostip::testkubernetes

// The nftables dataplane: a plan becomes table `ghostip` of its family, kept up to date by atomic batches.
//
// Nothing in it grows with services but set elements, so a change costs what changed. One thread; all of its kernel
// calls block. What is remembered between calls: which classes exist, and the slot order of pools that were changed.
#pragma once

#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/nftables/render_elements.h"
#include "dataplane/nftables/structure.h"
#include "kernel/nft/kernel.h"

namespace ghostip::dataplane::nftables {

[[nodiscard]] const Mode& mode();

class NftablesDataplane final : public Dataplane {
  public:
    NftablesDataplane(net::Family family, std::unique_ptr<kernel::nft::Kernel> kernel);

    [[nodiscard]] Result<void> replace(const plan::Plan& plan) override;
    [[nodiscard]] Result<void> apply(const plan::Delta& delta) override;

    // The batch that replace() commits.
    [[nodiscard]] static kernel::nft::Batch full_batch(const plan::Plan& plan);

  private:
    // What is remembered of what the kernel holds.
    struct State {
        plan::NodeRules node;
        Classes classes;
        std::map<std::string, kernel::nft::Chain> chains;
        std::map<std::string, kernel::nft::Set> sets;
        // Slots of service ports whose order is not the pool's own.
        std::unordered_map<plan::ServicePortName, ServicePortSlots> slots;
    };
    // A delta turned into operations, with what is to be remembered once they are committed.
    struct Staged {
        kernel::nft::Batch batch;
        plan::NodeRules node;
        Classes classes;
        std::map<std::string, kernel::nft::Chain> chains;  // new or rewritten
        std::map<std::string, kernel::nft::Set> sets;      // new
        std::vector<std::pair<plan::ServicePortName, ServicePortSlots>> slots;
        std::vector<plan::ServicePortName> canonical;  // slots are the pool's own order (again)
    };

    static Staged stage_all(const plan::Plan& plan);
    static Staged stage(net::Family family, const State& state, const plan::Delta& delta);
    static void stage_structure(net::Family family, const State& state, Staged& staged);
    static void stage_elements(const State& state, const plan::Delta& delta, Staged& staged);
    static void remember(Staged staged, State& state);
    [[nodiscard]] Result<void> forget_stuck_clients(const plan::Delta& delta);

    const net::Family family_;
    const std::unique_ptr<kernel::nft::Kernel> kernel_;
    State state_;
};

}  // namespace ghostip::dataplane::nftables

// The nftables dataplane: a plan becomes table `ghostip` of its family, kept up to date by small atomic batches.
//
// Nothing in it grows with services but set elements, so a change costs what changed. One thread; all of its kernel
// calls block. What is remembered between calls: which classes exist, the slot order of pools that were changed, and
// which objects the kernel refused.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/nftables/piece.h"
#include "dataplane/nftables/reconcile.h"
#include "dataplane/nftables/render_elements.h"
#include "dataplane/nftables/structure.h"
#include "dataplane/nftables/stuck_clients.h"
#include "kernel/nft/kernel.h"

namespace ghostip::dataplane::nftables {

[[nodiscard]] const Mode& mode();

class NftablesDataplane final : public Dataplane {
  public:
    // `background` is for SlowWork, which runs on another thread; without it such work uses `kernel`. `counts` is for
    // count_reader(), which is used by a third; without it nothing is counted.
    NftablesDataplane(net::Family family, std::unique_ptr<kernel::nft::Kernel> kernel,
                      std::unique_ptr<kernel::nft::Kernel> background = nullptr, const Limits& limits = {},
                      std::shared_ptr<kernel::nft::Kernel> counts = nullptr);

    [[nodiscard]] Result<Outcome> reconcile(const plan::Plan& plan) override;
    [[nodiscard]] Result<Outcome> apply(const plan::Delta& delta) override;
    [[nodiscard]] Result<Outcome> repair(const plan::Plan& plan, std::span<const ForeignWrite> writes) override;
    [[nodiscard]] std::function<Result<Sight>()> look(const plan::Plan& plan) const override;
    [[nodiscard]] Result<Outcome> check(const plan::Plan& plan, const Sight& sight) override;
    [[nodiscard]] std::vector<SetAside> set_aside() const override;
    [[nodiscard]] CountReader count_reader() const override;

    // Of the sockets that this instance writes through.
    [[nodiscard]] std::vector<std::uint32_t> port_ids() const;

    // One batch that makes the table anew with all that the plan wants.
    [[nodiscard]] static kernel::nft::Batch full_batch(const plan::Plan& plan, Counting counting = Counting::kOff);

  private:
    using Elements = std::vector<ElementList::Element>;
    // A service port that the kernel refused: what it holds of it, and why not more.
    struct Aside {
        Elements landed;
        std::string reason;
    };
    // What is remembered of what the kernel holds.
    struct State {
        plan::NodeRules node;
        Classes classes;
        std::map<std::string, kernel::nft::Chain> chains;
        std::map<std::string, kernel::nft::Set> sets;
        SlotOrders slots;
        std::unordered_map<plan::ServicePortName, Aside> aside;
        // Refused without being one service port's (a cluster IP, a hairpin, an address): what, and why.
        std::map<std::string, std::string> shared_aside;
    };
    // A piece of a delta on its way into the kernel.
    struct Pending {
        std::vector<const plan::ServicePortChange*> changes;
        std::vector<std::optional<ServicePortSlots>> slots;  // absent: the pool's own order
    };
    enum class Start : std::uint8_t { kWarm, kCold };

    [[nodiscard]] Result<void> write(const plan::Delta& delta, Start start, Outcome& outcome);
    [[nodiscard]] std::vector<kernel::nft::Operation> stage_structure(const plan::NodeRules& node,
                                                                      const Classes& classes);
    [[nodiscard]] Piece stage_service_ports(Pending& pending);
    [[nodiscard]] Elements elements_before(const plan::ServicePortChange& change) const;
    void conclude(const Pending& pending, const Error* refusal, Outcome& outcome);
    void conclude_shared(const Piece& piece, const Error* refusal, Outcome& outcome);
    [[nodiscard]] Result<void> write_shared(const plan::Delta& delta, bool front, PieceWriter& writer) const;

    [[nodiscard]] Result<void> start_anew(const plan::Plan& plan, Outcome& outcome);
    // What of the kernel is compared, and what is believed of it beforehand.
    enum class Look : std::uint8_t {
        kFresh,    // everything, and nothing is known: what is right stays as it is
        kRunning,  // everything, by a process that knows what it wrote
        kPlaces,   // some elements, by such a process
    };
    [[nodiscard]] Result<void> settle(const plan::Plan& plan, const Observed& observed, Look look, const Focus& focus,
                                      Mismatch mismatch, Outcome& outcome);
    [[nodiscard]] Result<void> write_structure(const Repair& repair, Outcome& outcome);
    [[nodiscard]] Result<void> end_handover(Outcome& outcome);
    [[nodiscard]] Result<void> replace_at_once(const plan::Plan& plan, Outcome& outcome);
    void remember_refusal(const plan::Plan& plan, const SlotOrders& slots, const Piece& piece, const Error& refusal,
                          std::unordered_map<plan::ServicePortName, Aside>& aside, Outcome& outcome) const;
    void sweep_later(const StickyChange& change, Outcome& outcome) const;

    const net::Family family_;
    const std::unique_ptr<kernel::nft::Kernel> kernel_;
    const std::unique_ptr<kernel::nft::Kernel> background_;  // of one other thread; null: there is none
    const Limits limits_;
    const std::shared_ptr<kernel::nft::Kernel> counts_;  // of one other thread; null: nothing is counted
    const Counting counting_;
    const std::shared_ptr<ClientSweep> sweep_ = std::make_shared<ClientSweep>();
    State state_;
};

}  // namespace ghostip::dataplane::nftables

// The service ports of a plan as services of a relay: a pool for each scope that traffic is sent to, and a table that
// says who gets which. Of one family; owned by the dataplane's thread.
//
// What comes is there when take() returns; what goes stays until retire(), for the kernel may still lead clients to it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "dataplane/carrier.h"
#include "dataplane/destination_table.h"
#include "plan/plan.h"

namespace ghostip::dataplane {

// Which service ports are carried.
enum class Carry : std::uint8_t { kAll, kNodePorts };

class CarriedServices {
  public:
    CarriedServices(std::shared_ptr<Carrier> carrier, net::Family family, relay::Pick pick, Carry carry = Carry::kAll)
        : carrier_(std::move(carrier)), family_(family), pick_(pick), carry_(carry) {}
    ~CarriedServices();
    CarriedServices(const CarriedServices&) = delete;
    CarriedServices& operator=(const CarriedServices&) = delete;

    // Exactly these from now on.
    void take(const plan::Plan& plan);
    void take(const plan::Delta& delta);
    // What has left since the last call is gone from now on.
    void retire();

    // TCP and UDP only; null: there is none.
    [[nodiscard]] const plan::ServicePortPlan* find(const plan::ServicePortName& name) const;
    [[nodiscard]] PoolServices services(const plan::ServicePortName& name) const;
    // In order of their names.
    void for_each(const std::function<void(const plan::ServicePortPlan&)>& visit) const;
    [[nodiscard]] const plan::NodeRules& node() const { return node_; }
    [[nodiscard]] const std::shared_ptr<DestinationTable>& table() const { return table_; }
    [[nodiscard]] Carrier& carrier() const { return *carrier_; }
    [[nodiscard]] net::Family family() const { return family_; }

  private:
    struct Carried {
        plan::ServicePortPlanPtr plan;
        PoolServices services;
    };
    void take(const plan::ServicePortName& name, const plan::ServicePortPlanPtr& planned);
    [[nodiscard]] bool wanted(const plan::ServicePortPlan& plan) const;
    void set_node(const plan::NodeRules& node);
    void set_pool(const plan::ServicePortPlan* before, const plan::ServicePortPlan& after, plan::PoolScope scope,
                  relay::ServiceId& service);
    void leave(const Carried& one);

    const std::shared_ptr<Carrier> carrier_;
    const net::Family family_;
    const relay::Pick pick_;
    const Carry carry_;
    // Shared with what the relay asks.
    const std::shared_ptr<DestinationTable> table_ = std::make_shared<DestinationTable>();
    plan::NodeRules node_;
    std::map<plan::ServicePortName, Carried> carried_;
    std::vector<relay::ServiceId> leaving_;
    std::vector<std::pair<plan::ServicePortName, plan::DestinationKey>> leaving_keys_;
};

}  // namespace ghostip::dataplane

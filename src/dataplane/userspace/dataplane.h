// The userspace dataplane: this process carries the traffic. The relay listens, and the rules of another mode lead
// clients to it (redirects.h); where those may not be written, it is met at node ports and at addresses asked for by
// name. One family; one thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/carried_services.h"
#include "dataplane/dataplane.h"
#include "dataplane/direct_listeners.h"
#include "dataplane/leads.h"
#include "dataplane/userspace/redirects.h"
#include "plan/stale_flows.h"

namespace ghostip::dataplane::userspace {

// The row of the table. `redirecting` is the mode whose rules lead to the relay; it must outlive the result.
// `leads` reads where they lead. Called once.
[[nodiscard]] Mode mode(const Mode& redirecting, ReadLeads leads);

class UserspaceDataplane final : public Dataplane {
  public:
    // `inner` writes the rules; null: nothing is redirected, and `why_not` says why.
    [[nodiscard]] static Result<std::unique_ptr<UserspaceDataplane>> open(net::Family family,
                                                                          std::unique_ptr<Dataplane> inner,
                                                                          std::string why_not,
                                                                          const RelayOptions& options);
    ~UserspaceDataplane() override;

    [[nodiscard]] Result<Outcome> reconcile(const plan::Plan& plan) override;
    [[nodiscard]] Result<Outcome> apply(const plan::Delta& delta) override;
    [[nodiscard]] Result<Outcome> repair(const plan::Plan& plan, std::span<const ForeignWrite> writes) override;
    [[nodiscard]] std::function<Result<Sight>()> look(const plan::Plan& plan) const override;
    [[nodiscard]] Result<Outcome> check(const plan::Plan& plan, const Sight& sight) override;
    [[nodiscard]] std::vector<SetAside> set_aside() const override;
    [[nodiscard]] CountReader count_reader() const override;
    [[nodiscard]] std::vector<std::string> remarks() const override;

    [[nodiscard]] Dataplane* writer() override { return inner_ ? inner_->writer() : nullptr; }

  private:
    // Of a service port's UDP clients, by scope. (TCP tells what was dialled, so that all its clients share two.)
    struct Listeners {
        relay::ListenerId cluster{};
        relay::ListenerId local{};
        PoolServices services;  // whom they serve
        RelayPorts ports;
    };

    UserspaceDataplane(net::Family family, std::unique_ptr<Dataplane> inner, std::string why_not,
                       const RelayOptions& options, std::shared_ptr<Carrier> carrier);
    [[nodiscard]] Result<void> listen_for_tcp();
    [[nodiscard]] std::optional<RelayPorts> ports_of(const plan::ServicePortPlan& plan);
    [[nodiscard]] Result<void> listen_for_udp(const plan::ServicePortPlan& plan, plan::PoolScope scope);
    void close_what_left();
    void conclude(const std::map<std::string, std::string>& before, Outcome& outcome) const;
    [[nodiscard]] std::map<std::string, std::string> aside() const;

    const net::Family family_;
    const std::shared_ptr<Carrier> carrier_;
    const std::unique_ptr<Dataplane> inner_;  // null: nothing is redirected
    const std::string why_not_;
    CarriedServices services_;
    DirectListeners direct_;
    Redirects redirects_;
    plan::StaleFlowFinder flow_finder_;
    RelayPorts tcp_ports_;
    std::vector<relay::ListenerId> tcp_listeners_;
    std::map<plan::ServicePortName, Listeners> udp_;
    std::map<std::string, std::string> aside_;  // service ports without a listener, or that are not carried: why
};

}  // namespace ghostip::dataplane::userspace

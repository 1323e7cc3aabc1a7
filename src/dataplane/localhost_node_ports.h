// Node ports at 127.0.0.1 and ::1 for a mode whose rules cannot serve them there (KEP-6032): a relay in this process
// listens on them, beside the mode's own dataplane, which this stands before. Of one family.
//
// TCP and UDP; the client is this node itself, and is treated as such.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/carried_services.h"
#include "dataplane/dataplane.h"
#include "dataplane/direct_listeners.h"

namespace ghostip::dataplane {

class LocalhostNodePorts final : public Dataplane {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Dataplane>> before(std::unique_ptr<Dataplane> inner, net::Family family,
                                                                   const RelayOptions& options);

    [[nodiscard]] Result<Outcome> reconcile(const plan::Plan& plan) override;
    [[nodiscard]] Result<Outcome> apply(const plan::Delta& delta) override;
    [[nodiscard]] Result<Outcome> repair(const plan::Plan& plan, std::span<const ForeignWrite> writes) override;
    [[nodiscard]] std::function<Result<Sight>()> look(const plan::Plan& plan) const override;
    [[nodiscard]] Result<Outcome> check(const plan::Plan& plan, const Sight& sight) override;
    [[nodiscard]] std::vector<SetAside> set_aside() const override;
    [[nodiscard]] CountReader count_reader() const override { return inner_->count_reader(); }
    [[nodiscard]] std::string_view variant_name() const override { return inner_->variant_name(); }
    [[nodiscard]] Dataplane* writer() override { return inner_->writer(); }
    [[nodiscard]] std::vector<std::string> remarks() const override { return inner_->remarks(); }

  private:
    LocalhostNodePorts(std::unique_ptr<Dataplane> inner, std::shared_ptr<Carrier> carrier, net::Family family,
                       const RelayOptions& options);
    void conclude(const std::map<std::string, std::string>& failed_before, Result<Outcome>& outcome);

    const std::unique_ptr<Dataplane> inner_;
    CarriedServices services_;
    DirectListeners listeners_;
};

}  // namespace ghostip::dataplane

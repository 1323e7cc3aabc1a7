// A dataplane whose calls are told apart: the time in which a program of iptables ran or the kernel took a transaction,
// and the rest, which is this process's own. Where nothing of iptables is run, only transactions count as the kernel's:
// what is read of it is in the rest.
#pragma once

#include <memory>

#include "bench/figures.h"
#include "dataplane/dataplane.h"

namespace ghostip::bench {

struct TimedCall {
    double wall = 0;  // milliseconds
    double own = 0;   // of them, with no program running and no transaction under way
};

class TimedDataplane {
  public:
    [[nodiscard]] static Result<TimedDataplane> open(const dataplane::Mode& mode, net::Family family,
                                                     const dataplane::Options& options);

    [[nodiscard]] Result<TimedCall> reconcile(const plan::Plan& plan);
    [[nodiscard]] Result<TimedCall> apply(const plan::Delta& delta);

  private:
    TimedDataplane(std::unique_ptr<dataplane::Dataplane> dataplane, std::shared_ptr<Clock::duration> programs)
        : dataplane_(std::move(dataplane)), programs_(std::move(programs)) {}
    template <typename Call>
    [[nodiscard]] Result<TimedCall> timed(const Call& call);

    std::unique_ptr<dataplane::Dataplane> dataplane_;
    std::shared_ptr<Clock::duration> programs_;  // of all calls; null: the mode runs none
};

}  // namespace ghostip::bench

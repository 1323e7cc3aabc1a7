// The one interface of all dataplanes: a plan goes in, kernel objects come out. No policy in here.
//
// One instance serves one family, in the network namespace that its thread was in when it was opened. Owned by one
// thread. Errors leave the kernel as it was before the call (each dataplane says how); the caller then asks for
// replace() with the whole plan.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "plan/plan.h"

namespace ghostip::dataplane {

class Dataplane {
  public:
    virtual ~Dataplane() = default;

    // Makes the kernel hold exactly `plan`, whatever this program left there before, in one step that no packet sees
    // half done.
    [[nodiscard]] virtual Result<void> replace(const plan::Plan& plan) = 0;
    // Applies what changed since the last successful call, in one atomic step, in time proportional to the delta.
    [[nodiscard]] virtual Result<void> apply(const plan::Delta& delta) = 0;
};

// One mode: a row of the table in agent/modes.cpp.
struct Mode {
    std::string_view name;  // as --proxy-mode takes it
    const plan::ModeProfile& (*profile)();
    // What this host lacks for the mode, one sentence each; empty = it can.
    std::vector<std::string> (*missing)(net::Family family);
    Result<std::unique_ptr<Dataplane>> (*open)(net::Family family);
    // What would be programmed, readable, for people.
    std::string (*render)(const plan::Plan& plan);
    // Removes every trace of the mode from this network namespace; fine when there is none.
    Result<void> (*cleanup)();
};

}  // namespace ghostip::dataplane

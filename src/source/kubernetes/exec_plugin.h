// Runs an exec credential plugin on a thread of its own, one run at a time. Owned by one thread, which starts runs and
// takes their results; `done` is called on the other.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "base/fd.h"
#include "source/kubernetes/exec_credential.h"
#include "source/kubernetes/transport_observer.h"

namespace ghostip::source::kubernetes {

// client-go waits for ever; here a plugin that hangs is killed, and the next request tries it again.
inline constexpr std::chrono::seconds kPluginLimit{60};

class ExecPluginRunner {
  public:
    struct Outcome {
        Result<PluginCredential> credential;
        PluginCalled called;
    };

    // The configuration outlives this.
    ExecPluginRunner(const ClientConfig& config, Environment environment, std::function<void()> done);
    ExecPluginRunner(const ExecPluginRunner&) = delete;
    ExecPluginRunner& operator=(const ExecPluginRunner&) = delete;
    // Kills the program.
    ~ExecPluginRunner();

    // If none is running.
    void start();
    [[nodiscard]] bool running() const { return thread_.joinable(); }
    // Once for each run.
    [[nodiscard]] std::optional<Outcome> take();

  private:
    [[nodiscard]] Outcome run() const;

    const ClientConfig& config_;
    const Environment environment_;
    const std::function<void()> done_;
    const Fd stop_;
    std::thread thread_;
    std::mutex mutex_;
    std::optional<Outcome> outcome_;  // guarded by mutex_
};

}  // namespace ghostip::source::kubernetes

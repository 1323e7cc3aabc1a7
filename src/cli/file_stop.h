// Ends the agent when the configuration file changes, as kube-proxy does: whoever supervises starts it anew.
#pragma once

#include <functional>
#include <optional>
#include <thread>

#include "agent/config/file_watch.h"
#include "base/fd.h"
#include "base/result.h"

namespace ghostip::cli {

class FileStop {
  public:
    // Without a file there is nothing to wait for. `stop` is called from a thread of its own.
    FileStop(std::optional<agent::config::FileWatch> watch, std::function<void()> stop);
    ~FileStop() { static_cast<void>(end()); }
    FileStop(const FileStop&) = delete;
    FileStop& operator=(const FileStop&) = delete;

    // No more changes are waited for; an error if there was one.
    [[nodiscard]] Result<void> end();

  private:
    std::optional<agent::config::FileWatch> watch_;  // the thread's
    const Fd stop_event_;
    std::optional<Error> why_;  // the thread's until it has ended
    std::thread thread_;
};

}  // namespace ghostip::cli

// Tells when the configuration file changes, so that the process can end and be started anew with it.
//
// The inode that the path led to is watched, nothing else: a write to it or its renaming counts. What usually does not:
// a new file in its place, or a symbolic link that leads elsewhere, as in volumes of ConfigMaps. One thread.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace ghostip::agent::config {

class FileWatch {
  public:
    [[nodiscard]] static Result<FileWatch> open(const std::string& path);

    // Waits for a change (true), or until `stop_fd` becomes readable (false). An error: it cannot be told any more.
    [[nodiscard]] Result<bool> wait(int stop_fd);

  private:
    explicit FileWatch(Fd inotify) : inotify_(std::move(inotify)) {}

    Fd inotify_;
};

// What the process ends with after a change.
inline constexpr const char* kFileChanged = "content of the proxy server's configuration file was updated";

}  // namespace ghostip::agent::config

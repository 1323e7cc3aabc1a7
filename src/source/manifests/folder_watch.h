// What happens to the files of one folder, by inotify(7). Single-threaded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace ghostip::source {

enum class FileEvent : std::uint8_t {
    kWritten,  // complete: closed after writing, renamed to this name, or linked
    kGone,
};

struct FolderEvents {
    std::map<std::string, FileEvent> files;  // the last that happened to each name
    bool all_may_have_changed = false;       // events were lost, or a link that many files go through was switched
    bool folder_lost = false;                // deleted, renamed or unmounted: nothing more will come
};

class FolderWatch {
  public:
    [[nodiscard]] static Result<FolderWatch> open(const std::filesystem::path& folder);

    // Readable when there are events.
    [[nodiscard]] int fd() const { return fd_.get(); }
    // All that are there; does not wait.
    [[nodiscard]] FolderEvents take();

  private:
    FolderWatch(Fd fd, std::filesystem::path folder) : fd_(std::move(fd)), folder_(std::move(folder)) {}

    void add(std::uint32_t mask, const std::string& name, FolderEvents& events) const;

    Fd fd_;
    std::filesystem::path folder_;
};

}  // namespace ghostip::source

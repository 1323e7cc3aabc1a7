// Objects from a manifest file or folder, which is watched: the ObjectSource of `ghostip --manifests`.
//
// A file is read again when a writer has closed it, when it is renamed to its name, or when a mounted ConfigMap is
// switched; never while it is being written. Symbolic links to files outside of the folder are followed, but what
// happens there is seen only at the next event here.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>

#include "api/problem.h"
#include "api/source.h"
#include "base/fd.h"
#include "source/manifests/folder_watch.h"
#include "source/manifests/manifest_set.h"

namespace ghostip::source {

class ManifestSource : public api::ObjectSource {
  public:
    // Called on the source's thread.
    using OnProblem = std::function<void(const api::Problem&)>;

    ManifestSource(std::filesystem::path path, OnProblem on_problem)
        : path_(std::move(path)), on_problem_(std::move(on_problem)) {}
    ~ManifestSource() override { stop(); }
    ManifestSource(const ManifestSource&) = delete;
    ManifestSource& operator=(const ManifestSource&) = delete;

    // An error if the path does not exist or cannot be watched. The first load is done on the source's thread, and ends
    // with mark_synced(), whatever problems the files have.
    [[nodiscard]] Result<void> start(api::ChangeQueue& queue) override;
    void stop() override;

  private:
    using Clock = std::chrono::steady_clock;

    void run();
    void handle(const FolderEvents& events);
    void read_due();
    void watch_again();
    void deliver(Delivery delivery);
    [[nodiscard]] int poll_timeout() const;

    const std::filesystem::path path_;
    const OnProblem on_problem_;
    Fd stop_event_;
    std::thread thread_;

    // Owned by the thread once it runs.
    api::ChangeQueue* queue_ = nullptr;
    std::optional<ManifestSet> set_;
    std::optional<FolderWatch> watch_;              // absent while the folder is
    std::map<std::string, Clock::time_point> due_;  // files to look at, and when
};

}  // namespace ghostip::source

// A small file that others rewrite while we run (a token, a certificate), read again when it is old. What was once good
// is kept when a later reading fails. Single-threaded; reading a local file of a few KiB is the slowest thing here.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"

namespace ghostip::source::kubernetes {

// At most 16 MiB.
[[nodiscard]] Result<std::string> read_file(const std::string& path);

class RefreshedFile {
  public:
    using Time = std::chrono::steady_clock::time_point;
    // What is kept of the content, or why it is no good.
    using Check = std::function<Result<std::string>(std::string content)>;

    RefreshedFile(std::string path, std::chrono::milliseconds max_age, Check check)
        : path_(std::move(path)), max_age_(max_age), check_(std::move(check)) {}

    // Reads if there is nothing yet, or it is older than max_age. An error only while nothing good was ever read.
    [[nodiscard]] Result<std::string> content(Time now);
    // The next content() reads whatever the age.
    void expire() { read_at_.reset(); }
    // Why the last reading failed, told once for each reason.
    [[nodiscard]] std::optional<Error> take_failure();
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    const std::string path_;
    const std::chrono::milliseconds max_age_;
    const Check check_;
    std::optional<std::string> content_;
    std::optional<Time> read_at_;  // of the last reading that was good
    std::optional<Error> failure_;
    std::string told_;
};

}  // namespace ghostip::source::kubernetes

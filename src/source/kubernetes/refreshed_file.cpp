#include "source/kubernetes/refreshed_file.h"

#include <fcntl.h>

#include <array>
#include <utility>

#include "base/fd.h"

namespace ghostip::source::kubernetes {
namespace {

constexpr std::size_t kLargest = std::size_t{16} << 20U;

}  // namespace

Result<std::string> read_file(const std::string& path) {
    // Not blocking: a name that is a pipe nobody writes to must not hang the thread.
    const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!file) return fail_errno("{}", path);
    std::string content;
    std::array<char, 16384> buffer{};
    while (true) {
        const ssize_t size = ::read(file.get(), buffer.data(), buffer.size());
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return fail_errno("{}", path);
        if (size == 0) return content;
        content.append(buffer.data(), static_cast<std::size_t>(size));
        if (content.size() > kLargest) return fail("{}: has more than {} MiB", path, kLargest >> 20U);
    }
}

Result<std::string> RefreshedFile::content(Time now) {
    if (content_ && read_at_ && now - *read_at_ <= max_age_) return *content_;
    auto checked = [&]() -> Result<std::string> {
        ASSIGN_OR_RETURN(std::string read, read_file(path_));
        auto kept = check_(std::move(read));
        if (!kept) return kept.error().within(path_);
        return kept;
    }();
    if (checked) {
        content_ = std::move(checked).value();
        read_at_ = now;
        failure_.reset();
        told_.clear();
        return *content_;
    }
    failure_ = checked.error();
    if (!content_) return std::move(checked).error();
    return *content_;
}

std::optional<Error> RefreshedFile::take_failure() {
    if (!failure_ || failure_->message == told_) return std::nullopt;
    told_ = failure_->message;
    return failure_;
}

}  // namespace ghostip::source::kubernetes

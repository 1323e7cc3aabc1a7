#include "relay/pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <utility>

namespace ghostip::relay {
namespace {

// More than that many flows are seldom in the middle of something on one thread.
constexpr std::size_t kMostFree = 32;
// A user above fs.pipe-user-pages-soft gets pipes of a page or two. Copying is faster than these.
constexpr int kSmallest = 32 * 1024;

}  // namespace

// So that give() takes no memory.
PipePool::PipePool(std::size_t capacity) : capacity_(capacity) { free_.reserve(kMostFree); }

std::optional<Pipe> PipePool::take() {
    if (free_.empty()) return make();
    Pipe pipe = std::move(free_.back());
    free_.pop_back();
    return pipe;
}

void PipePool::give(Pipe pipe) {
    if (free_.size() < kMostFree) free_.push_back(std::move(pipe));
}

std::optional<Pipe> PipePool::make() const {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) < 0) return std::nullopt;
    Pipe pipe{Fd(ends[0]), Fd(ends[1]), 0};
    // The kernel rounds up to a power of two of pages. Where it refuses (fs.pipe-max-size), the pipe stays as it is.
    ::fcntl(pipe.in.get(), F_SETPIPE_SZ, static_cast<int>(capacity_));
    const int size = ::fcntl(pipe.in.get(), F_GETPIPE_SZ);
    if (size < kSmallest) return std::nullopt;
    pipe.capacity = static_cast<std::size_t>(size);
    return pipe;
}

}  // namespace ghostip::relay

#include "relay/pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <utility>

namespace ghostip::relay {
namespace {

// More than that many flows are seldom in the middle of something on one thread.
constexpr std::size_t kMostFree = 32;
// A user above fs.pipe-user-pages-soft gets pipes of a page or two. Copying is faster than these.
constexpr std::size_t kSmallest = std::size_t{32} * 1024;

// The kernel rounds up, which would be more than was allowed.
std::size_t fitting(std::size_t capacity) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return std::bit_floor(capacity / page) * page;
}

}  // namespace

// So that give() takes no memory.
PipePool::PipePool(std::size_t capacity) : capacity_(fitting(capacity)) { free_.reserve(kMostFree); }

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
    if (capacity_ < kSmallest) return std::nullopt;
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) < 0) return std::nullopt;
    Pipe pipe{Fd(ends[0]), Fd(ends[1]), 0};
    // Where the kernel refuses (fs.pipe-max-size), which it does only for more, the pipe stays as it is.
    ::fcntl(pipe.in.get(), F_SETPIPE_SZ, static_cast<int>(capacity_));
    const int size = ::fcntl(pipe.in.get(), F_GETPIPE_SZ);
    if (size < 0) return std::nullopt;
    pipe.capacity = static_cast<std::size_t>(size);
    if (pipe.capacity < kSmallest || pipe.capacity > capacity_) return std::nullopt;
    return pipe;
}

}  // namespace ghostip::relay

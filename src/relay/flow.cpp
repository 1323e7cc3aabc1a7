#include "relay/flow.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ghostip::relay {
namespace {

// Then the other connections of the thread have their turn.
constexpr std::size_t kTurn = std::size_t{1} << 20U;
// So many full buffers in a row are bulk, and so many nearly empty pipes no more.
constexpr std::uint8_t kStreak = 2;
constexpr std::size_t kNearlyEmpty = 8 * 1024;

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

template <typename Call>
ssize_t uninterrupted(Call call) {
    ssize_t result = 0;
    do result = call();
    while (result < 0 && errno == EINTR);
    return result;
}

}  // namespace

void Flow::prepend(std::string_view bytes) {
    if (!bytes.empty()) keep(bytes.data(), bytes.size());
}

void Flow::keep(const char* bytes, std::size_t size) {
    rest_ = std::make_unique<char[]>(size);  // NOLINT(modernize-avoid-c-arrays)
    std::memcpy(rest_.get(), bytes, size);
    rest_from_ = 0;
    rest_to_ = static_cast<std::uint32_t>(size);
}

Flow::Progress Flow::run(Means& means, Readiness& from, Readiness& to, Counter& bytes) {
    moved_ = 0;
    auto progress = Progress::kAgain;
    while (progress == Progress::kAgain && moved_ < kTurn) {
        auto step = Step::kDone;
        if (pending()) {
            step = to.writable ? write_pending(to) : Step::kBlocked;
        } else if (end_seen_) {
            progress = Progress::kEnded;
        } else if (!from.readable) {
            step = Step::kBlocked;
        } else {
            step = bulk_ && !from.urgent ? splice(means, from) : copy(means, from, to);
        }
        if (step == Step::kBlocked) progress = Progress::kWaits;
        if (step == Step::kBroken) progress = Progress::kBroken;
    }
    if (in_pipe_ == 0 && progress != Progress::kAgain) release_pipe(means);
    if (moved_ > 0) bytes.add(moved_);
    return progress;
}

Flow::Step Flow::write_pending(Readiness& to) { return rest_ != nullptr ? write_rest(to) : write_pipe(to); }

Flow::Step Flow::write_rest(Readiness& to) {
    const auto sent =
        uninterrupted([&] { return ::send(to.fd, rest_.get() + rest_from_, rest_to_ - rest_from_, MSG_NOSIGNAL); });
    if (sent < 0 && !would_block()) return Step::kBroken;
    if (sent < 0) {
        to.writable = false;
        return Step::kBlocked;
    }
    rest_from_ += static_cast<std::uint32_t>(sent);
    if (rest_from_ == rest_to_) rest_.reset();
    return Step::kDone;
}

Flow::Step Flow::write_pipe(Readiness& to) {
    const auto sent = uninterrupted([&] {
        return ::splice(pipe_->out.get(), nullptr, to.fd, nullptr, in_pipe_, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    });
    if (sent < 0 && !would_block()) return Step::kBroken;
    if (sent <= 0) {
        to.writable = false;
        return Step::kBlocked;
    }
    in_pipe_ -= static_cast<std::size_t>(sent);
    return Step::kDone;
}

Flow::Step Flow::copy(Means& means, Readiness& from, Readiness& to) {
    auto& buffer = means.buffer;
    const auto got = uninterrupted([&] { return ::recv(from.fd, buffer.data(), buffer.size(), 0); });
    if (got < 0 && !would_block()) return Step::kBroken;
    if (got < 0) {
        from.readable = false;
        from.urgent = false;  // what comes is another edge, also of urgent data that overtook others
        return Step::kBlocked;
    }
    if (got == 0) {
        end_seen_ = true;
        return Step::kDone;
    }
    const auto size = static_cast<std::size_t>(got);
    moved_ += size;
    // Fewer than asked for were all (epoll(7)); what comes later, an end too, is another edge. Not at an urgent mark.
    if (size < buffer.size() && !from.hung_up && !from.urgent) from.readable = false;
    judge_amount(size, buffer.size());

    ssize_t sent = 0;
    if (to.writable) {
        sent = uninterrupted([&] { return ::send(to.fd, buffer.data(), size, MSG_NOSIGNAL); });
        if (sent < 0 && !would_block()) return Step::kBroken;
        sent = std::max<ssize_t>(sent, 0);
    }
    const auto done = static_cast<std::size_t>(sent);
    if (done == size) return Step::kDone;
    to.writable = false;
    keep(buffer.data() + done, size - done);
    return Step::kBlocked;
}

// Only with an empty pipe: so EAGAIN means that there is nothing to read, never that the pipe is full.
Flow::Step Flow::splice(Means& means, Readiness& from) {
    if (!pipe_) pipe_ = means.pipes.take();
    if (!pipe_) {  // copying needs none
        stop_bulk();
        return Step::kDone;
    }
    const auto got = uninterrupted([&] {
        return ::splice(from.fd, nullptr, pipe_->in.get(), nullptr, pipe_->capacity, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    });
    if (got < 0 && !would_block()) return Step::kBroken;
    if (got < 0) {
        from.readable = false;
        return Step::kBlocked;
    }
    // The end, or an urgent mark of which no event has told yet and then the end: copying tells these apart.
    if (got == 0) {
        stop_bulk();
        return Step::kDone;
    }
    in_pipe_ = static_cast<std::size_t>(got);
    moved_ += in_pipe_;
    judge_amount(in_pipe_, kNearlyEmpty);
    return Step::kDone;
}

// A few in a row decide: one large answer is not bulk, one short read within a transfer is no end of it.
void Flow::judge_amount(std::size_t size, std::size_t enough) {
    const bool other_way = (size >= enough) != bulk_;
    streak_ = other_way ? static_cast<std::uint8_t>(streak_ + 1) : std::uint8_t{0};
    if (streak_ < kStreak) return;
    bulk_ = !bulk_;
    streak_ = 0;
}

void Flow::stop_bulk() {
    bulk_ = false;
    streak_ = 0;
}

void Flow::release_pipe(Means& means) {
    if (!pipe_) return;
    means.pipes.give(std::move(*pipe_));
    pipe_.reset();
}

}  // namespace ghostip::relay

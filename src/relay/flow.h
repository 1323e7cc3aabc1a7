// One direction of a connection: takes bytes from one socket and gives them to another, and holds what the other does
// not take yet. Few bytes are copied through a buffer that the thread has for all; where more comes than that, the
// pages are moved through a pipe (splice). An idle flow has neither.
//
//     from --recv--> the thread's buffer --send--> to         what does not fit stays in `rest_`
//     from --splice--> a pipe of the pool --splice--> to      what does not fit stays in the pipe
//
// Urgent data is carried as bytes among others (SO_OOBINLINE on both sockets), but takes care: a call that reads stops
// at its mark though there is more behind it, and splice never gets past it, not even to the end of the stream
// (tcp_read_sock() in Linux' net/ipv4/tcp.c). So it is copied, as long as there may be some.
//
// Nothing is read while something waits to be written: a slow reader slows down the sender, and takes no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "relay/counters.h"
#include "relay/pipe_pool.h"

namespace ghostip::relay {

// What is known of a socket that epoll reports on by edges: true until a system call says otherwise.
struct Readiness {
    int fd = -1;
    bool readable = false;
    bool writable = false;
    bool hung_up = false;  // the peer sends no more; there may be bytes before that end
    bool urgent = false;   // there is urgent data (RFC 9293, 3.8.5), or was until a system call says otherwise
};

// What flows of one thread share.
struct Means {
    PipePool pipes;
    std::vector<char> buffer;
};

class Flow {
  public:
    enum class Progress : std::uint8_t {
        kWaits,   // for one of the sockets
        kAgain,   // could go on, but it is somebody else's turn
        kEnded,   // `from` has said its last, and `to` has got all of it
        kBroken,  // a socket is of no use any more
    };

    // To be given to `to` before anything else. Before the first run.
    void prepend(std::string_view bytes);
    [[nodiscard]] Progress run(Means& means, Readiness& from, Readiness& to, Counter& bytes);

  private:
    enum class Step : std::uint8_t { kDone, kBlocked, kBroken };

    [[nodiscard]] bool pending() const { return rest_ != nullptr || in_pipe_ > 0; }
    [[nodiscard]] Step write_pending(Readiness& to);
    [[nodiscard]] Step write_rest(Readiness& to);
    [[nodiscard]] Step write_pipe(Readiness& to);
    [[nodiscard]] Step copy(Means& means, Readiness& from, Readiness& to);
    [[nodiscard]] Step splice(Means& means, Readiness& from);
    void keep(const char* bytes, std::size_t size);
    void release_pipe(Means& means);
    void stop_bulk();
    void judge_amount(std::size_t size, std::size_t enough);

    // Not a vector: that would be 16 bytes more in each idle flow.
    std::unique_ptr<char[]> rest_;  // NOLINT(modernize-avoid-c-arrays)
    std::uint32_t rest_from_ = 0;
    std::uint32_t rest_to_ = 0;
    std::optional<Pipe> pipe_;
    std::size_t in_pipe_ = 0;
    std::size_t moved_ = 0;  // in this run
    std::uint8_t streak_ = 0;
    bool bulk_ = false;
    bool end_seen_ = false;
};

}  // namespace ghostip::relay

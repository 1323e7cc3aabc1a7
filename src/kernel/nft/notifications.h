// The socket that nf_tables' notifications come through. What they say is in announcement.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

struct sock_filter;

namespace ghostip::kernel::nft {

class Notifications {
  public:
    // Room for notifications that nobody has read yet. A transaction of 100,000 elements needs about 14 MB.
    static constexpr int kReceiveBufferBytes = 32 << 20;

    // Subscribed, in the network namespace of the calling thread.
    [[nodiscard]] static Result<Notifications> open(int receive_buffer_bytes = kReceiveBufferBytes);

    // From any thread.
    [[nodiscard]] Result<void> subscribe() const;
    [[nodiscard]] Result<void> leave() const;
    [[nodiscard]] Result<void> filter(std::vector<sock_filter> program) const;

    struct Sink {
        std::function<void(std::span<const std::uint8_t> datagram)> take;
        // The receive buffer was full: notifications were lost, and more may be until it is empty. The kernel says so
        // once, at the first (netlink_overrun in net/netlink/af_netlink.c).
        std::function<void()> lost;
    };
    // Reads so many datagrams of the kernel's at most, without waiting. True: no more are there. By one thread at a
    // time.
    [[nodiscard]] Result<bool> read(int most_datagrams, const Sink& sink);

    // Readable when read() would have something to bring.
    [[nodiscard]] int fd() const { return socket_.get(); }

  private:
    explicit Notifications(Fd socket);

    Fd socket_;
    std::vector<std::uint8_t> buffer_;  // of who reads
};

}  // namespace ghostip::kernel::nft

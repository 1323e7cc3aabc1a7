// Datagrams received and sent many at a time (recvmmsg, sendmmsg), of any size that UDP has. One thread, one batch at a
// time.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "relay/socket_address.h"

namespace ghostip::relay {

// From which of its addresses a socket answers.
struct ReplyFrom {
    net::IpAddress address;
    unsigned interface = 0;  // 0: by the routes
};

class Datagrams {
  public:
    static constexpr std::size_t kMost = 32;
    // IPv6 without jumbograms carries less.
    static constexpr std::size_t kLargest = 65'536;

    Datagrams();
    Datagrams(const Datagrams&) = delete;
    Datagrams& operator=(const Datagrams&) = delete;

    // How many came; 0 with errno set where none did. Forgets the batch before.
    [[nodiscard]] std::size_t receive(int socket);
    [[nodiscard]] std::size_t size(std::size_t index) const { return in_[index].msg_len; }
    [[nodiscard]] const KernelAddress& from(std::size_t index) const { return from_[index]; }
    // What it was addressed to: as the kernel's packet information says, or before TPROXY led it here.
    [[nodiscard]] std::optional<ReplyFrom> addressed_to(std::size_t index) const;
    [[nodiscard]] std::optional<SocketAddress> original_destination(std::size_t index) const;

    // Sends those of the batch on: `to` null where the socket is connected. How many the kernel took; errno says why
    // not the next one.
    [[nodiscard]] std::size_t send(int socket, std::size_t first, std::size_t count, const KernelAddress* to = nullptr,
                                   const ReplyFrom* reply_from = nullptr);

  private:
    struct Control {
        alignas(cmsghdr) std::array<char, 128> bytes;
    };
    template <typename T>
    [[nodiscard]] std::optional<T> control(std::size_t index, int level, int type) const;
    static std::size_t write_reply_from(Control& control, const ReplyFrom& from);

    std::vector<char> bytes_;
    std::array<mmsghdr, kMost> in_{};
    std::array<iovec, kMost> in_parts_{};
    std::array<KernelAddress, kMost> from_;
    std::array<Control, kMost> controls_{};
    std::array<mmsghdr, kMost> out_{};
    std::array<iovec, kMost> out_parts_{};
};

}  // namespace ghostip::relay

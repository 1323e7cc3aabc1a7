// A netlink socket that asks and waits for the answer: one request, a list, or many requests in few system calls.
//
// It belongs to the network namespace that the calling thread is in when open() is called. Blocking, with a deadline
// for each answer; owned by one thread at a time. nf_tables, conntrack and notifications have needs of their own and
// sockets of their own.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "kernel/netlink/batch.h"

namespace ghostip::kernel::netlink {

class Socket {
  public:
    using Visit = std::function<void(const nlmsghdr*)>;
    // Which message of a batch was refused (from 0), with which errno value, and the kernel's whole answer.
    using Refused = std::function<void(std::size_t index, int code, const nlmsghdr* answer)>;

    // `protocol`: NETLINK_ROUTE, NETLINK_GENERIC, NETLINK_NETFILTER.
    [[nodiscard]] static Result<Socket> open(int protocol);

    // One request, to its acknowledgement; what is answered besides goes to `visit`. Errors name `what` and have the
    // kernel's code.
    [[nodiscard]] Result<void> ask(nlmsghdr* request, std::string_view what, const Visit& visit = nullptr);
    // A list (a dump), each message of it handed over. EINTR: something changed meanwhile, so that entries may be
    // missing or there twice. Another error: see ask().
    [[nodiscard]] Result<void> list(nlmsghdr* request, std::string_view what, const Visit& visit);
    // All messages of the batch, in their order, each with an answer; the kernel goes on after one that it refuses. An
    // error here means that the kernel's answers are not known.
    [[nodiscard]] Result<void> ask_all(Batch& batch, std::string_view what, const Refused& refused);

  private:
    explicit Socket(Fd socket) : socket_(std::move(socket)) {}
    [[nodiscard]] Result<void> send(std::span<const char> bytes, std::string_view what);
    [[nodiscard]] Result<std::span<const char>> receive(std::string_view what);
    // What a call that failed half-way left unread.
    void discard_leftovers();

    Fd socket_;
    std::uint32_t sequence_ = 0;
    bool leftovers_ = false;
    std::vector<char> buffer_;
};

}  // namespace ghostip::kernel::netlink

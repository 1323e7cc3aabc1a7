// Requests that go out together: each is written into a Request, then added. Bytes only; no kernel.
#pragma once

#include <libmnl/libmnl.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace ghostip::kernel::netlink {

// Room for one request. libmnl writes without looking at the end, so who fills it has to know that it fits.
struct Request {
    // The header of a message; attributes are put behind what it returns.
    nlmsghdr* start(std::uint16_t type, std::uint16_t flags = 0) {
        nlmsghdr* header = mnl_nlmsg_put_header(bytes.data());
        header->nlmsg_type = type;
        header->nlmsg_flags = flags;
        return header;
    }

    alignas(nlmsghdr) std::array<char, 8192> bytes{};
};

class Batch {
  public:
    // A copy of it.
    void add(const nlmsghdr* message) {
        const auto* bytes = reinterpret_cast<const char*>(message);
        bytes_.insert(bytes_.end(), bytes, bytes + message->nlmsg_len);
        bytes_.resize(NLMSG_ALIGN(bytes_.size()));
        ends_.push_back(bytes_.size());
    }
    [[nodiscard]] std::size_t size() const { return ends_.size(); }
    // The bytes of messages [first, last).
    [[nodiscard]] std::span<char> between(std::size_t first, std::size_t last) {
        const std::size_t begin = first == 0 ? 0 : ends_[first - 1];
        return std::span(bytes_).subspan(begin, ends_[last - 1] - begin);
    }

  private:
    std::vector<char> bytes_;
    std::vector<std::size_t> ends_;  // of each message, in bytes from the start
};

}  // namespace ghostip::kernel::netlink

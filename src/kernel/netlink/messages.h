// The messages of one datagram as a range: `for (const nlmsghdr* message : messages(buffer, received))`. Each is whole;
// the first that is not ends the range.
//
// Not libmnl's mnl_nlmsg_ok(): it compares lengths as signed numbers, so that one beyond 2 GiB passes (libmnl 1.0.4).
#pragma once

#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace ghostip::kernel::netlink {

class Messages {
  public:
    class Iterator {
      public:
        Iterator(const char* at, const char* end) : at_(at), end_(end) { check(); }
        const nlmsghdr* operator*() const { return reinterpret_cast<const nlmsghdr*>(at_); }
        Iterator& operator++() {
            const std::size_t length = NLMSG_ALIGN(std::size_t{(**this)->nlmsg_len});
            at_ += std::min(length, left());
            check();
            return *this;
        }
        bool operator!=(const Iterator& other) const { return at_ != other.at_; }

      private:
        [[nodiscard]] std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
        void check() {
            if (left() < sizeof(nlmsghdr) || (**this)->nlmsg_len < sizeof(nlmsghdr) || (**this)->nlmsg_len > left())
                at_ = end_;
        }
        const char* at_;
        const char* end_;
    };

    Messages(const void* data, std::size_t size) : begin_(static_cast<const char*>(data)), end_(begin_ + size) {}
    [[nodiscard]] Iterator begin() const { return {begin_, end_}; }
    [[nodiscard]] Iterator end() const { return {end_, end_}; }

  private:
    const char* begin_;
    const char* end_;
};

inline Messages messages(const void* data, std::size_t size) { return {data, size}; }

// The errno value of an NLMSG_ERROR message; 0 is an acknowledgement.
inline int error_code(const nlmsghdr* message) {
    if (message->nlmsg_len < NLMSG_HDRLEN + sizeof(nlmsgerr)) return EBADMSG;
    int error = 0;
    std::memcpy(&error, reinterpret_cast<const char*>(message) + NLMSG_HDRLEN, sizeof error);
    return -error;
}

}  // namespace ghostip::kernel::netlink

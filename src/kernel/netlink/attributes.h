// Netlink attributes as a range: `for (const nlattr* attribute : nested(parent))`. libmnl's own macros are C only.
#pragma once

#include <libmnl/libmnl.h>

#include <cstddef>

namespace ghostip::kernel::netlink {

class Attributes {
  public:
    class Iterator {
      public:
        Iterator(const char* at, const char* end) : at_(at), end_(end) { check(); }
        const nlattr* operator*() const { return reinterpret_cast<const nlattr*>(at_); }
        Iterator& operator++() {
            at_ = reinterpret_cast<const char*>(mnl_attr_next(**this));
            check();
            return *this;
        }
        bool operator!=(const Iterator& other) const { return at_ != other.at_; }

      private:
        // A truncated attribute ends the range.
        void check() {
            if (at_ >= end_ || !mnl_attr_ok(reinterpret_cast<const nlattr*>(at_), static_cast<int>(end_ - at_)))
                at_ = end_;
        }
        const char* at_;
        const char* end_;
    };

    Attributes(const void* begin, const void* end)
        : begin_(static_cast<const char*>(begin)), end_(static_cast<const char*>(end)) {}
    [[nodiscard]] Iterator begin() const { return {begin_, end_}; }
    [[nodiscard]] Iterator end() const { return {end_, end_}; }

  private:
    const char* begin_;
    const char* end_;
};

// The attributes of a message, behind `header_bytes` of fixed header. Its end is where it says; libmnl's own word for
// it (mnl_nlmsg_get_payload_tail()) is up to three bytes later.
inline Attributes attributes(const nlmsghdr* message, std::size_t header_bytes) {
    return {mnl_nlmsg_get_payload_offset(message, header_bytes),
            reinterpret_cast<const char*>(message) + message->nlmsg_len};
}

inline Attributes nested(const nlattr* parent) {
    const auto* payload = static_cast<const char*>(mnl_attr_get_payload(parent));
    return {payload, payload + mnl_attr_get_payload_len(parent)};
}

}  // namespace ghostip::kernel::netlink

// Netlink attributes as a range: `for (const nlattr* attribute : nested(parent))`. libmnl's own macros are C only.
#pragma once

#include <libmnl/libmnl.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

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

// The last one of this type; null: there is none.
inline const nlattr* find(Attributes attributes, std::uint16_t type) {
    const nlattr* found = nullptr;
    for (const nlattr* attribute : attributes)
        if (mnl_attr_get_type(attribute) == type) found = attribute;
    return found;
}

// The same in a nest, which may be null.
inline const nlattr* find(const nlattr* parent, std::uint16_t type) {
    return parent == nullptr ? nullptr : find(nested(parent), type);
}

inline std::string_view bytes_of(const nlattr* attribute) {
    return {static_cast<const char*>(mnl_attr_get_payload(attribute)), mnl_attr_get_payload_len(attribute)};
}

// Up to its zero byte, if it has one. Of null: nothing.
inline std::string_view text_of(const nlattr* attribute) {
    if (attribute == nullptr) return {};
    const std::string_view bytes = bytes_of(attribute);
    return bytes.substr(0, bytes.find('\0'));
}

}  // namespace ghostip::kernel::netlink

#include "kernel/ipset/ipset.h"

#include <cerrno>

namespace ghostip::kernel::ipset {

std::string_view type_name(Type type) {
    switch (type) {
        case Type::kIpPort: return "hash:ip,port";
        case Type::kIpPortIp: return "hash:ip,port,ip";
        case Type::kIpPortNet: return "hash:ip,port,net";
        case Type::kIp: return "hash:ip";
        case Type::kPort: return "bitmap:port";
    }
    return "?";
}

std::optional<Type> parse_type(std::string_view name) {
    for (const Type type : kTypes)
        if (type_name(type) == name) return type;
    return std::nullopt;
}

std::string text(Type type, const Element& element) {
    if (type == Type::kPort) return fmt::format("{}", element.port);
    if (type == Type::kIp) return element.address.text();
    auto all =
        fmt::format("{},{}:{}", element.address.text(), net::protocol_lower_name(element.protocol), element.port);
    if (element.other) {
        const bool whole = element.other->length == net::address_bits(element.other->family());
        all += "," + (whole ? element.other->address.text() : element.other->text());
    }
    return all;
}

Result<bool> Patience::destroy(const std::function<Result<bool>()>& destroy) {
    constexpr std::chrono::milliseconds kPause(100);
    for (;;) {
        auto destroyed = destroy();
        if (destroyed || destroyed.error().code != EBUSY || pauses_left_ == 0) return destroyed;
        --pauses_left_;
        pause_(kPause);
    }
}

}  // namespace ghostip::kernel::ipset

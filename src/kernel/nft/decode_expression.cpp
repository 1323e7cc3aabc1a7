#include "kernel/nft/decode_expression.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>

#include <array>
#include <cstring>

#include "kernel/netlink/attributes.h"

namespace ghostip::kernel::nft {
namespace {

// The attributes of one expression by type; expressions have few, and none of ours a higher one.
class Parts {
  public:
    explicit Parts(const nlattr* nest) {
        if (nest == nullptr) return;
        for (const nlattr* attribute : netlink::nested(nest)) {
            const auto type = mnl_attr_get_type(attribute);
            if (type < parts_.size())
                parts_[type] = attribute;
            else
                odd_ = true;
        }
    }
    [[nodiscard]] bool has(std::uint16_t type) const { return parts_[type] != nullptr; }
    [[nodiscard]] bool odd() const { return odd_; }
    [[nodiscard]] std::uint32_t number(std::uint16_t type, std::uint32_t absent = 0) const {
        const nlattr* part = parts_[type];
        if (part == nullptr || mnl_attr_get_payload_len(part) != sizeof(std::uint32_t)) return absent;
        return ntohl(mnl_attr_get_u32(part));
    }
    [[nodiscard]] std::uint8_t byte(std::uint16_t type, std::uint8_t absent) const {
        const nlattr* part = parts_[type];
        return part == nullptr || mnl_attr_get_payload_len(part) != 1 ? absent : mnl_attr_get_u8(part);
    }
    [[nodiscard]] std::string text(std::uint16_t type) const {
        const nlattr* part = parts_[type];
        if (part == nullptr) return {};
        const auto* begin = static_cast<const char*>(mnl_attr_get_payload(part));
        return {begin, ::strnlen(begin, mnl_attr_get_payload_len(part))};
    }
    // A register as a word: the kernel names those of 16 bytes 1 to 4, words from 8 on. 255: none of them.
    [[nodiscard]] std::uint8_t reg(std::uint16_t type) const {
        const std::uint32_t value = number(type);
        if (value >= NFT_REG_1 && value <= NFT_REG_4) return static_cast<std::uint8_t>((value - NFT_REG_1) * 4);
        if (value >= NFT_REG32_00 && value <= NFT_REG32_15) return static_cast<std::uint8_t>(value - NFT_REG32_00);
        return 255;
    }
    [[nodiscard]] Bytes value(std::uint16_t type) const {
        if (parts_[type] == nullptr) return {};
        for (const nlattr* part : netlink::nested(parts_[type])) {
            if (mnl_attr_get_type(part) != NFTA_DATA_VALUE) continue;
            const auto* begin = static_cast<const std::uint8_t*>(mnl_attr_get_payload(part));
            return {begin, begin + mnl_attr_get_payload_len(part)};
        }
        return {};
    }
    [[nodiscard]] const nlattr* nest(std::uint16_t type) const { return parts_[type]; }

  private:
    std::array<const nlattr*, 16> parts_{};
    bool odd_ = false;
};

using Decoder = Expression (*)(const Parts& parts, net::Family family);

Expression foreign(std::string_view what) { return Foreign{std::string(what)}; }

Expression payload(const Parts& parts, net::Family /*family*/) {
    const auto base = parts.number(NFTA_PAYLOAD_BASE, NFT_PAYLOAD_LL_HEADER);
    if (!parts.has(NFTA_PAYLOAD_DREG) || (base != NFT_PAYLOAD_NETWORK_HEADER && base != NFT_PAYLOAD_TRANSPORT_HEADER))
        return foreign("payload");
    return Payload{base == NFT_PAYLOAD_NETWORK_HEADER ? Payload::Base::kNetwork : Payload::Base::kTransport,
                   parts.number(NFTA_PAYLOAD_OFFSET), parts.number(NFTA_PAYLOAD_LEN), parts.reg(NFTA_PAYLOAD_DREG)};
}

Expression meta(const Parts& parts, net::Family /*family*/) {
    MetaKey key{};
    switch (parts.number(NFTA_META_KEY, NFT_META_LEN)) {
        case NFT_META_L4PROTO: key = MetaKey::kL4Protocol; break;
        case NFT_META_MARK: key = MetaKey::kMark; break;
        case NFT_META_IIFNAME: key = MetaKey::kInputInterfaceName; break;
        default: return foreign("meta");
    }
    const bool write = parts.has(NFTA_META_SREG);
    return Meta{key, parts.reg(write ? NFTA_META_SREG : NFTA_META_DREG), write};
}

Expression ct(const Parts& parts, net::Family family) {
    constexpr std::uint8_t kNoDirection = 255;
    const std::uint8_t direction = parts.byte(NFTA_CT_DIRECTION, kNoDirection);
    if (!parts.has(NFTA_CT_DREG)) return foreign("ct");
    const std::uint8_t reg = parts.reg(NFTA_CT_DREG);
    const std::uint32_t key = parts.number(NFTA_CT_KEY);
    if (direction == kNoDirection && parts.has(NFTA_CT_KEY)) {
        if (key == NFT_CT_STATE) return Ct{CtKey::kState, reg};
        if (key == NFT_CT_STATUS) return Ct{CtKey::kStatus, reg};
    }
    const bool ipv4 = family == net::Family::kIpv4;
    if (direction == IP_CT_DIR_ORIGINAL) {
        if (key == (ipv4 ? NFT_CT_SRC_IP : NFT_CT_SRC_IP6)) return Ct{CtKey::kOriginalSource, reg};
        if (key == (ipv4 ? NFT_CT_DST_IP : NFT_CT_DST_IP6)) return Ct{CtKey::kOriginalDestination, reg};
        if (key == NFT_CT_PROTO_DST) return Ct{CtKey::kOriginalDestinationPort, reg};
    }
    return foreign("ct");
}

Expression compare(const Parts& parts, net::Family /*family*/) {
    const auto operation = parts.number(NFTA_CMP_OP, NFT_CMP_LT);
    if (operation != NFT_CMP_EQ && operation != NFT_CMP_NEQ) return foreign("cmp");
    return Compare{operation == NFT_CMP_EQ, parts.reg(NFTA_CMP_SREG), parts.value(NFTA_CMP_DATA)};
}

Expression bitwise(const Parts& parts, net::Family /*family*/) {
    const std::uint8_t reg = parts.reg(NFTA_BITWISE_SREG);
    if (parts.number(NFTA_BITWISE_OP, NFT_BITWISE_BOOL) != NFT_BITWISE_BOOL || reg != parts.reg(NFTA_BITWISE_DREG))
        return foreign("bitwise");
    return Bitwise{reg, parts.value(NFTA_BITWISE_MASK), parts.value(NFTA_BITWISE_XOR)};
}

Expression lookup(const Parts& parts, net::Family /*family*/) {
    if (parts.number(NFTA_LOOKUP_FLAGS) != 0) return foreign("lookup");
    Lookup out{parts.text(NFTA_LOOKUP_SET), parts.reg(NFTA_LOOKUP_SREG), std::nullopt};
    if (parts.has(NFTA_LOOKUP_DREG)) out.data_reg = parts.reg(NFTA_LOOKUP_DREG);
    return out;
}

Expression fib(const Parts& parts, net::Family /*family*/) {
    const auto flags = parts.number(NFTA_FIB_FLAGS);
    if (parts.number(NFTA_FIB_RESULT) != NFT_FIB_RESULT_ADDRTYPE ||
        (flags != NFTA_FIB_F_SADDR && flags != NFTA_FIB_F_DADDR))
        return foreign("fib");
    return FibType{flags == NFTA_FIB_F_SADDR, parts.reg(NFTA_FIB_DREG)};
}

Expression numgen(const Parts& parts, net::Family /*family*/) {
    if (parts.number(NFTA_NG_TYPE) != NFT_NG_RANDOM || parts.number(NFTA_NG_OFFSET) != 0) return foreign("numgen");
    return RandomNumber{parts.number(NFTA_NG_MODULUS), parts.reg(NFTA_NG_DREG)};
}

Expression nat(const Parts& parts, net::Family family) {
    const std::uint32_t wanted_family = family == net::Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
    // The kernel adds these flags itself where an address and a port are given.
    constexpr std::uint32_t kGiven = NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED;
    const std::uint8_t address = parts.reg(NFTA_NAT_REG_ADDR_MIN);
    const std::uint8_t port = parts.reg(NFTA_NAT_REG_PROTO_MIN);
    const bool one_address = !parts.has(NFTA_NAT_REG_ADDR_MAX) || parts.reg(NFTA_NAT_REG_ADDR_MAX) == address;
    const bool one_port = !parts.has(NFTA_NAT_REG_PROTO_MAX) || parts.reg(NFTA_NAT_REG_PROTO_MAX) == port;
    if (parts.number(NFTA_NAT_TYPE, NFT_NAT_SNAT) != NFT_NAT_DNAT || parts.number(NFTA_NAT_FAMILY) != wanted_family ||
        !one_address || !one_port || (parts.number(NFTA_NAT_FLAGS) & ~kGiven) != 0)
        return foreign("nat");
    return Dnat{address, port};
}

Expression masquerade(const Parts& parts, net::Family /*family*/) {
    if (parts.number(NFTA_MASQ_FLAGS) != NF_NAT_RANGE_PROTO_RANDOM_FULLY || parts.has(NFTA_MASQ_REG_PROTO_MIN))
        return foreign("masq");
    return Masquerade{};
}

Expression reject(const Parts& parts, net::Family family) {
    const std::uint8_t unreachable = family == net::Family::kIpv4 ? 3 : 4;  // ICMP, ICMPv6: port unreachable
    if (parts.number(NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST) != NFT_REJECT_ICMP_UNREACH ||
        parts.byte(NFTA_REJECT_ICMP_CODE, 0) != unreachable)
        return foreign("reject");
    return Reject{};
}

Expression update(const Parts& parts, net::Family /*family*/) {
    const nlattr* timeout = parts.nest(NFTA_DYNSET_TIMEOUT);
    const bool own_timeout = timeout != nullptr && mnl_attr_get_payload_len(timeout) == sizeof(std::uint64_t) &&
                             mnl_attr_get_u64(timeout) != 0;
    if (parts.number(NFTA_DYNSET_OP) != NFT_DYNSET_OP_UPDATE || own_timeout || parts.number(NFTA_DYNSET_FLAGS) != 0 ||
        !parts.has(NFTA_DYNSET_SREG_DATA))
        return foreign("dynset");
    return UpdateMap{parts.text(NFTA_DYNSET_SET_NAME), parts.reg(NFTA_DYNSET_SREG_KEY),
                     parts.reg(NFTA_DYNSET_SREG_DATA)};
}

Expression verdict(const Parts& parts, net::Family /*family*/) {
    if (parts.number(NFTA_IMMEDIATE_DREG, NFT_REG_1) != NFT_REG_VERDICT || !parts.has(NFTA_IMMEDIATE_DATA))
        return foreign("immediate");
    for (const nlattr* part : netlink::nested(parts.nest(NFTA_IMMEDIATE_DATA))) {
        if (mnl_attr_get_type(part) != NFTA_DATA_VERDICT) continue;
        const Parts inner(part);
        const std::string chain = inner.text(NFTA_VERDICT_CHAIN);
        switch (static_cast<std::int32_t>(inner.number(NFTA_VERDICT_CODE))) {
            case NF_ACCEPT: return Verdict{Verdict::Kind::kAccept, chain};
            case NF_DROP: return Verdict{Verdict::Kind::kDrop, chain};
            case NFT_RETURN: return Verdict{Verdict::Kind::kReturn, chain};
            case NFT_JUMP: return Verdict{Verdict::Kind::kJump, chain};
            case NFT_GOTO: return Verdict{Verdict::Kind::kGoto, chain};
            default: return foreign("verdict");
        }
    }
    return foreign("immediate");
}

struct Kind {
    std::string_view name;
    Decoder decode;
};
constexpr std::array kKinds{Kind{"payload", payload},  Kind{"meta", meta},       Kind{"ct", ct},
                            Kind{"cmp", compare},      Kind{"bitwise", bitwise}, Kind{"lookup", lookup},
                            Kind{"fib", fib},          Kind{"numgen", numgen},   Kind{"nat", nat},
                            Kind{"masq", masquerade},  Kind{"reject", reject},   Kind{"dynset", update},
                            Kind{"immediate", verdict}};

}  // namespace

Expression decode_expression(const nlattr* expression, net::Family family) {
    const Parts outer(expression);
    const std::string name = outer.text(NFTA_EXPR_NAME);
    const Parts parts(outer.nest(NFTA_EXPR_DATA));
    for (const auto& kind : kKinds)
        if (kind.name == name) return parts.odd() ? foreign(name) : kind.decode(parts, family);
    return foreign(name);
}

}  // namespace ghostip::kernel::nft

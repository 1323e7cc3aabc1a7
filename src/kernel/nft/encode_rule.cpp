#include "kernel/nft/encode_rule.h"

#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>

#include "kernel/nft/set_userdata.h"

namespace ghostip::kernel::nft {
namespace {

std::uint32_t reg(std::uint8_t word) { return NFT_REG32_00 + std::uint32_t{word}; }

struct Translator {
    nftnl_rule* rule;
    net::Family family;

    nftnl_expr* add(const char* name) const {
        nftnl_expr* expression = nftnl_expr_alloc(name);
        nftnl_rule_add_expr(rule, expression);
        return expression;
    }
    [[nodiscard]] std::uint32_t nf_family() const { return family == net::Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6; }

    void operator()(const Payload& e) const {
        nftnl_expr* out = add("payload");
        nftnl_expr_set_u32(out, NFTNL_EXPR_PAYLOAD_DREG, reg(e.reg));
        nftnl_expr_set_u32(
            out, NFTNL_EXPR_PAYLOAD_BASE,
            e.base == Payload::Base::kNetwork ? NFT_PAYLOAD_NETWORK_HEADER : NFT_PAYLOAD_TRANSPORT_HEADER);
        nftnl_expr_set_u32(out, NFTNL_EXPR_PAYLOAD_OFFSET, e.offset);
        nftnl_expr_set_u32(out, NFTNL_EXPR_PAYLOAD_LEN, e.length);
    }
    void operator()(const Meta& e) const {
        nftnl_expr* out = add("meta");
        std::uint32_t key = NFT_META_L4PROTO;
        if (e.key == MetaKey::kMark) key = NFT_META_MARK;
        if (e.key == MetaKey::kInputInterfaceName) key = NFT_META_IIFNAME;
        nftnl_expr_set_u32(out, NFTNL_EXPR_META_KEY, key);
        nftnl_expr_set_u32(out, e.write ? NFTNL_EXPR_META_SREG : NFTNL_EXPR_META_DREG, reg(e.reg));
    }
    void operator()(const Ct& e) const {
        nftnl_expr* out = add("ct");
        std::uint32_t key = NFT_CT_STATE;
        bool original = true;
        const bool ipv4 = family == net::Family::kIpv4;
        switch (e.key) {
            case CtKey::kState: original = false; break;
            case CtKey::kStatus:
                key = NFT_CT_STATUS;
                original = false;
                break;
            case CtKey::kOriginalSource: key = ipv4 ? NFT_CT_SRC_IP : NFT_CT_SRC_IP6; break;
            case CtKey::kOriginalDestination: key = ipv4 ? NFT_CT_DST_IP : NFT_CT_DST_IP6; break;
            case CtKey::kOriginalDestinationPort: key = NFT_CT_PROTO_DST; break;
        }
        nftnl_expr_set_u32(out, NFTNL_EXPR_CT_DREG, reg(e.reg));
        nftnl_expr_set_u32(out, NFTNL_EXPR_CT_KEY, key);
        if (original) nftnl_expr_set_u8(out, NFTNL_EXPR_CT_DIR, IP_CT_DIR_ORIGINAL);
    }
    void operator()(const Compare& e) const {
        nftnl_expr* out = add("cmp");
        nftnl_expr_set_u32(out, NFTNL_EXPR_CMP_SREG, reg(e.reg));
        nftnl_expr_set_u32(out, NFTNL_EXPR_CMP_OP, e.equal ? NFT_CMP_EQ : NFT_CMP_NEQ);
        nftnl_expr_set(out, NFTNL_EXPR_CMP_DATA, e.value.data(), static_cast<std::uint32_t>(e.value.size()));
    }
    void operator()(const Bitwise& e) const {
        nftnl_expr* out = add("bitwise");
        nftnl_expr_set_u32(out, NFTNL_EXPR_BITWISE_SREG, reg(e.reg));
        nftnl_expr_set_u32(out, NFTNL_EXPR_BITWISE_DREG, reg(e.reg));
        nftnl_expr_set_u32(out, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
        nftnl_expr_set_u32(out, NFTNL_EXPR_BITWISE_LEN, static_cast<std::uint32_t>(e.mask.size()));
        nftnl_expr_set(out, NFTNL_EXPR_BITWISE_MASK, e.mask.data(), static_cast<std::uint32_t>(e.mask.size()));
        nftnl_expr_set(out, NFTNL_EXPR_BITWISE_XOR, e.flip.data(), static_cast<std::uint32_t>(e.flip.size()));
    }
    void operator()(const Lookup& e) const {
        nftnl_expr* out = add("lookup");
        nftnl_expr_set_str(out, NFTNL_EXPR_LOOKUP_SET, e.set.c_str());
        nftnl_expr_set_u32(out, NFTNL_EXPR_LOOKUP_SREG, reg(e.key_reg));
        if (e.data_reg) nftnl_expr_set_u32(out, NFTNL_EXPR_LOOKUP_DREG, reg(*e.data_reg));
    }
    void operator()(const FibType& e) const {
        nftnl_expr* out = add("fib");
        nftnl_expr_set_u32(out, NFTNL_EXPR_FIB_DREG, reg(e.reg));
        nftnl_expr_set_u32(out, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
        nftnl_expr_set_u32(out, NFTNL_EXPR_FIB_FLAGS, e.source ? NFTA_FIB_F_SADDR : NFTA_FIB_F_DADDR);
    }
    void operator()(const RandomNumber& e) const {
        nftnl_expr* out = add("numgen");
        nftnl_expr_set_u32(out, NFTNL_EXPR_NG_DREG, reg(e.reg));
        nftnl_expr_set_u32(out, NFTNL_EXPR_NG_TYPE, NFT_NG_RANDOM);
        nftnl_expr_set_u32(out, NFTNL_EXPR_NG_MODULUS, e.modulus);
        nftnl_expr_set_u32(out, NFTNL_EXPR_NG_OFFSET, 0);
    }
    void operator()(const Dnat& e) const {
        nftnl_expr* out = add("nat");
        nftnl_expr_set_u32(out, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
        nftnl_expr_set_u32(out, NFTNL_EXPR_NAT_FAMILY, nf_family());
        nftnl_expr_set_u32(out, NFTNL_EXPR_NAT_REG_ADDR_MIN, reg(e.address_reg));
        nftnl_expr_set_u32(out, NFTNL_EXPR_NAT_REG_PROTO_MIN, reg(e.port_reg));
    }
    void operator()(const Masquerade&) const {
        nftnl_expr_set_u32(add("masq"), NFTNL_EXPR_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY);
    }
    void operator()(const Reject&) const {
        constexpr std::uint8_t kIcmpPortUnreachable = 3;
        constexpr std::uint8_t kIcmp6PortUnreachable = 4;
        nftnl_expr* out = add("reject");
        nftnl_expr_set_u32(out, NFTNL_EXPR_REJECT_TYPE, NFT_REJECT_ICMP_UNREACH);
        nftnl_expr_set_u8(out, NFTNL_EXPR_REJECT_CODE,
                          family == net::Family::kIpv4 ? kIcmpPortUnreachable : kIcmp6PortUnreachable);
    }
    void operator()(const UpdateMap& e) const {
        nftnl_expr* out = add("dynset");
        nftnl_expr_set_str(out, NFTNL_EXPR_DYNSET_SET_NAME, e.map.c_str());
        nftnl_expr_set_u32(out, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
        nftnl_expr_set_u32(out, NFTNL_EXPR_DYNSET_SREG_KEY, reg(e.key_reg));
        nftnl_expr_set_u32(out, NFTNL_EXPR_DYNSET_SREG_DATA, reg(e.data_reg));
    }
    void operator()(const Verdict& e) const {
        nftnl_expr* out = add("immediate");
        nftnl_expr_set_u32(out, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
        std::int32_t code = NF_ACCEPT;
        switch (e.kind) {
            case Verdict::Kind::kAccept: code = NF_ACCEPT; break;
            case Verdict::Kind::kDrop: code = NF_DROP; break;
            case Verdict::Kind::kReturn: code = NFT_RETURN; break;
            case Verdict::Kind::kJump: code = NFT_JUMP; break;
            case Verdict::Kind::kGoto: code = NFT_GOTO; break;
        }
        nftnl_expr_set_u32(out, NFTNL_EXPR_IMM_VERDICT, static_cast<std::uint32_t>(code));
        if (!e.chain.empty()) nftnl_expr_set_str(out, NFTNL_EXPR_IMM_CHAIN, e.chain.c_str());
    }
    void operator()(const Foreign& /*e*/) const {}  // nobody writes these
};

}  // namespace

NftnlRule to_nftnl(const Rule& rule, const Table& table, const std::string& chain) {
    NftnlRule out(nftnl_rule_alloc(), nftnl_rule_free);
    nftnl_rule_set_str(out.get(), NFTNL_RULE_TABLE, table.name.c_str());
    nftnl_rule_set_str(out.get(), NFTNL_RULE_CHAIN, chain.c_str());
    const auto userdata = comment_userdata(rule.comment);
    if (!userdata.empty())
        nftnl_rule_set_data(out.get(), NFTNL_RULE_USERDATA, userdata.data(),
                            static_cast<std::uint32_t>(userdata.size()));
    const Translator translate{out.get(), table.family};
    for (const auto& expression : rule.expressions) std::visit(translate, expression);
    return out;
}

}  // namespace ghostip::kernel::nft

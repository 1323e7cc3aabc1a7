// For tests: notifications of nf_tables as the kernel writes them.
#pragma once

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace ghostip::kernel::nft::testing {

inline constexpr std::uint32_t kForeignPort = 4711;
inline constexpr std::uint32_t kOwnPort = 4712;

// Datagrams as the kernel writes them.
class Datagram {
  public:
    Datagram& about(std::uint16_t type, const char* table, std::uint8_t family = NFPROTO_IPV4,
                    std::uint32_t port = kForeignPort) {
        nlmsghdr* message = begin(type, family, port);
        mnl_attr_put_strz(message, NFTA_TABLE_NAME, table);
        return end(message);
    }
    Datagram& elements(std::uint16_t type, const char* set, const std::vector<std::vector<std::uint8_t>>& keys,
                       std::uint8_t family = NFPROTO_IPV4) {
        nlmsghdr* message = begin(type, family, kForeignPort);
        mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_TABLE, "ghostip");
        mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_SET, set);
        nlattr* list = mnl_attr_nest_start(message, NFTA_SET_ELEM_LIST_ELEMENTS);
        for (const auto& key : keys) {
            nlattr* element = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
            if (!key.empty()) {
                nlattr* nest = mnl_attr_nest_start(message, NFTA_SET_ELEM_KEY);
                mnl_attr_put(message, NFTA_DATA_VALUE, key.size(), key.data());
                mnl_attr_nest_end(message, nest);
            }
            mnl_attr_nest_end(message, element);
        }
        mnl_attr_nest_end(message, list);
        return end(message);
    }
    // With flags as of a request to make it.
    Datagram& chain(std::uint16_t type, const char* table, const char* chain, std::uint16_t flags = NLM_F_CREATE,
                    std::uint8_t family = NFPROTO_IPV4, std::uint32_t port = kForeignPort) {
        nlmsghdr* message = begin(type, family, port);
        message->nlmsg_flags = flags;
        mnl_attr_put_strz(message, NFTA_CHAIN_TABLE, table);
        mnl_attr_put_strz(message, NFTA_CHAIN_NAME, chain);
        if (is_built_in(chain)) mnl_attr_nest_end(message, mnl_attr_nest_start(message, NFTA_CHAIN_HOOK));
        return end(message);
    }
    // A rule with a comparison and a verdict; `target`: a chain, null for ACCEPT.
    Datagram& rule(std::uint16_t type, const char* table, const char* chain, const char* target,
                   std::uint8_t family = NFPROTO_IPV4, std::uint32_t port = kForeignPort) {
        nlmsghdr* message = begin(type, family, port);
        mnl_attr_put_strz(message, NFTA_RULE_TABLE, table);
        mnl_attr_put_strz(message, NFTA_RULE_CHAIN, chain);
        nlattr* expressions = mnl_attr_nest_start(message, NFTA_RULE_EXPRESSIONS);
        nlattr* comparison = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
        mnl_attr_put_strz(message, NFTA_EXPR_NAME, "cmp");
        mnl_attr_nest_end(message, comparison);
        nlattr* expression = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
        mnl_attr_put_strz(message, NFTA_EXPR_NAME, "immediate");
        nlattr* data = mnl_attr_nest_start(message, NFTA_EXPR_DATA);
        mnl_attr_put_u32(message, NFTA_IMMEDIATE_DREG, htonl(NFT_REG_VERDICT));
        nlattr* value = mnl_attr_nest_start(message, NFTA_IMMEDIATE_DATA);
        nlattr* verdict = mnl_attr_nest_start(message, NFTA_DATA_VERDICT);
        mnl_attr_put_u32(message, NFTA_VERDICT_CODE,
                         htonl(static_cast<std::uint32_t>(target == nullptr ? NF_ACCEPT : NFT_JUMP)));
        if (target != nullptr) mnl_attr_put_strz(message, NFTA_VERDICT_CHAIN, target);
        for (nlattr* nest : {verdict, value, data, expression, expressions}) mnl_attr_nest_end(message, nest);
        return end(message);
    }
    Datagram& generation(std::uint32_t process_id, const char* name, std::uint32_t port = kForeignPort) {
        nlmsghdr* message = begin(NFT_MSG_NEWGEN, AF_UNSPEC, port);
        mnl_attr_put_u32(message, NFTA_GEN_PROC_PID, htonl(process_id));
        mnl_attr_put_strz(message, NFTA_GEN_PROC_NAME, name);
        return end(message);
    }
    [[nodiscard]] std::vector<std::uint8_t> bytes() const { return {buffer_->begin(), buffer_->begin() + used_}; }

  private:
    static bool is_built_in(std::string_view chain) { return chain == "PREROUTING" || chain == "FORWARD"; }
    nlmsghdr* begin(std::uint16_t type, std::uint8_t family, std::uint32_t port) {
        nlmsghdr* message = mnl_nlmsg_put_header(buffer_->data() + used_);
        message->nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type);
        message->nlmsg_pid = port;
        static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)))->nfgen_family = family;
        return message;
    }
    Datagram& end(const nlmsghdr* message) {
        used_ += static_cast<std::ptrdiff_t>(message->nlmsg_len);
        return *this;
    }
    std::ptrdiff_t used_ = 0;
    std::unique_ptr<std::array<char, 1 << 20>> buffer_ = std::make_unique<std::array<char, 1 << 20>>();
};

}  // namespace ghostip::kernel::nft::testing

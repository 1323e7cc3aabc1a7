#include "kernel/nft/other_chains.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <array>
#include <functional>
#include <optional>
#include <string>

namespace ghostip::kernel::nft {
namespace {

// A message as the kernel writes it, in a buffer of its own.
class Message {
  public:
    explicit Message(std::uint8_t family, std::uint16_t type = NFT_MSG_NEWCHAIN) {
        mnl_nlmsg_put_header(buffer_.data());
        header()->nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type);
        static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header(), sizeof(nfgenmsg)))->nfgen_family = family;
    }
    Message& name(const char* table, const char* chain) {
        mnl_attr_put_strz(header(), NFTA_CHAIN_TABLE, table);
        mnl_attr_put_strz(header(), NFTA_CHAIN_NAME, chain);
        return *this;
    }
    Message& hook(std::uint32_t number, std::int32_t priority) {
        auto* nest = mnl_attr_nest_start(header(), NFTA_CHAIN_HOOK);
        mnl_attr_put_u32(header(), NFTA_HOOK_HOOKNUM, htonl(number));
        mnl_attr_put_u32(header(), NFTA_HOOK_PRIORITY, htonl(static_cast<std::uint32_t>(priority)));
        mnl_attr_nest_end(header(), nest);
        return *this;
    }
    Message& policy(std::uint32_t verdict) {
        mnl_attr_put_u32(header(), NFTA_CHAIN_POLICY, htonl(verdict));
        return *this;
    }
    Message& cut_by(std::uint32_t bytes) {
        header()->nlmsg_len -= bytes;
        return *this;
    }
    [[nodiscard]] std::optional<OtherChain> parsed() const {
        return parse_base_chain(reinterpret_cast<const nlmsghdr*>(buffer_.data()));
    }

  private:
    // Messages are copied: nothing may point into the one that was.
    [[nodiscard]] nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(buffer_.data()); }
    alignas(nlmsghdr) std::array<char, 512> buffer_{};
};

TEST(OtherChains, ReadsABaseChain) {
    const auto docker = Message(NFPROTO_IPV4).name("filter", "FORWARD").hook(NF_INET_FORWARD, 0).policy(NF_DROP);
    EXPECT_EQ(docker.parsed(), (OtherChain{TableFamily::kIp, "filter", "FORWARD", Hook::kForward, 0, Policy::kDrop}));
    const auto other = Message(NFPROTO_INET).name("fw", "pre").hook(NF_INET_PRE_ROUTING, -290).policy(NF_ACCEPT);
    EXPECT_EQ(other.parsed(), (OtherChain{TableFamily::kInet, "fw", "pre", Hook::kPrerouting, -290, Policy::kAccept}));
    const auto six = Message(NFPROTO_IPV6).name("t", "c").hook(NF_INET_POST_ROUTING, 100);
    EXPECT_EQ(six.parsed(), (OtherChain{TableFamily::kIp6, "t", "c", Hook::kPostrouting, 100, Policy::kAccept}));
}

TEST(OtherChains, PassesOverWhatIsNoBaseChainOfIp) {
    struct Case {
        const char* name;
        std::function<std::optional<OtherChain>()> parsed;
    };
    const std::array<Case, 8> cases{{
        {"a regular chain", [] { return Message(NFPROTO_IPV4).name("t", "c").parsed(); }},
        {"a bridge's", [] { return Message(NFPROTO_BRIDGE).name("t", "c").hook(NF_INET_FORWARD, 0).parsed(); }},
        {"a device's", [] { return Message(NFPROTO_NETDEV).name("t", "c").hook(0, 0).parsed(); }},
        {"inet ingress", [] { return Message(NFPROTO_INET).name("t", "c").hook(NF_INET_INGRESS, 0).parsed(); }},
        {"another message",
         [] { return Message(NFPROTO_IPV4, NFT_MSG_NEWRULE).name("t", "c").hook(NF_INET_FORWARD, 0).parsed(); }},
        {"no name", [] { return Message(NFPROTO_IPV4).hook(NF_INET_FORWARD, 0).parsed(); }},
        {"a hook cut short",
         [] { return Message(NFPROTO_IPV4).name("t", "c").hook(NF_INET_FORWARD, 0).cut_by(8).parsed(); }},
        {"no family", [] { return Message(NFPROTO_IPV4).cut_by(4).parsed(); }},
    }};
    for (const auto& one : cases) EXPECT_EQ(one.parsed(), std::nullopt) << one.name;
}

}  // namespace
}  // namespace ghostip::kernel::nft

#include "kernel/iptables/presence.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <fstream>
#include <string>

#include "base/fd.h"
#include "kernel/netlink/messages.h"

namespace ghostip::kernel::iptables {
namespace {

constexpr std::size_t kLongestName = NFT_NAME_MAXLEN - 1;

// A request for one object, to which attributes are added; then asked.
class Question {
  public:
    Question(int kind, net::Family family) : message_(mnl_nlmsg_put_header(buffer_.data())) {
        message_->nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | kind);
        message_->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
        message_->nlmsg_seq = 1;
        auto* header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message_, sizeof(nfgenmsg)));
        header->nfgen_family = family == net::Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
        header->version = NFNETLINK_V0;
    }
    void put(std::uint16_t attribute, std::string_view text) {
        mnl_attr_put_strz(message_, attribute, std::string(text).c_str());
    }
    // Whether there is such an object.
    Result<bool> ask() {
        const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
        if (!socket) return fail_errno("open a netfilter netlink socket");
        if (::send(socket.get(), message_, message_->nlmsg_len, 0) < 0) return fail_errno("ask nf_tables");
        std::array<char, 16384> answer{};
        // The object, if there is one, and then the acknowledgement.
        while (true) {
            const auto got = ::recv(socket.get(), answer.data(), answer.size(), 0);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return fail_errno("read the answer of nf_tables");
            for (const nlmsghdr* part : netlink::messages(answer.data(), static_cast<std::size_t>(got))) {
                if (part->nlmsg_type != NLMSG_ERROR) continue;
                const int code = netlink::error_code(part);
                if (code == 0) return true;
                if (code == ENOENT) return false;
                return errno_error(code, "ask nf_tables");
            }
        }
    }

  private:
    std::array<char, 1024> buffer_{};
    nlmsghdr* message_;
};

}  // namespace

Result<bool> nft_has_table(net::Family family, std::string_view table) {
    if (table.size() > kLongestName) return false;
    Question question(NFT_MSG_GETTABLE, family);
    question.put(NFTA_TABLE_NAME, table);
    return question.ask();
}

Result<bool> nft_has_chain(net::Family family, std::string_view table, std::string_view chain) {
    if (table.size() > kLongestName || chain.size() > kLongestName) return false;
    Question question(NFT_MSG_GETCHAIN, family);
    question.put(NFTA_CHAIN_TABLE, table);
    question.put(NFTA_CHAIN_NAME, chain);
    return question.ask();
}

bool legacy_has_table(net::Family family, std::string_view table) {
    std::ifstream names(family == net::Family::kIpv4 ? "/proc/thread-self/net/ip_tables_names"
                                                     : "/proc/thread-self/net/ip6_tables_names");
    for (std::string name; std::getline(names, name);)
        if (name == table) return true;
    return false;
}

}  // namespace ghostip::kernel::iptables

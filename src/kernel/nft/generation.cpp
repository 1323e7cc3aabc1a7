#include "kernel/nft/generation.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "kernel/netlink/attributes.h"
#include "kernel/netlink/messages.h"

namespace ghostip::kernel::nft {
namespace {

constexpr int kAnswersToSkip = 16;

nlmsghdr* put_header(char* at, std::uint16_t type, std::uint16_t resource) {
    nlmsghdr* message = mnl_nlmsg_put_header(at);
    message->nlmsg_type = type;
    message->nlmsg_flags = NLM_F_REQUEST;
    auto* header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
    header->version = NFNETLINK_V0;
    header->res_id = htons(resource);
    return message;
}

}  // namespace

Result<Generation> Generation::open() {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
    if (!socket) return fail_errno("open a netfilter netlink socket");
    const sockaddr_nl kernel{AF_NETLINK, 0, 0, 0};
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel) < 0)
        return fail_errno("connect a netfilter netlink socket");
    return Generation(std::move(socket));
}

Result<std::uint32_t> Generation::read() const {
    alignas(nlmsghdr) std::array<char, 4096> buffer{};
    const nlmsghdr* request = put_header(buffer.data(), NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0);
    if (::send(socket_.get(), request, request->nlmsg_len, 0) < 0) return fail_errno("ask for nf_tables' generation");
    for (int i = 0; i < kAnswersToSkip; ++i) {
        // The kernel answers inside the send call.
        const ssize_t received = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (received < 0 && errno == EINTR) continue;
        if (received < 0) return fail_errno("read nf_tables' generation");
        for (const nlmsghdr* answer : netlink::messages(buffer.data(), static_cast<std::size_t>(received))) {
            if (answer->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN)) continue;
            for (const nlattr* attribute : netlink::attributes(answer, sizeof(nfgenmsg)))
                if (mnl_attr_get_type(attribute) == NFTA_GEN_ID &&
                    mnl_attr_get_payload_len(attribute) == sizeof(std::uint32_t))
                    return ntohl(mnl_attr_get_u32(attribute));
        }
    }
    return fail("read nf_tables' generation: the kernel did not tell");
}

// An empty batch takes the mutex that a transaction holds from its first message until its notifications are sent
// (nfnetlink_rcv_batch, nf_tables_valid_genid, nf_tables_commit), and ends without becoming a generation.
Result<void> Generation::settle() const {
    alignas(nlmsghdr) std::array<char, 256> buffer{};
    nlmsghdr* begin = put_header(buffer.data(), NFNL_MSG_BATCH_BEGIN, NFNL_SUBSYS_NFTABLES);
    const nlmsghdr* end = put_header(buffer.data() + begin->nlmsg_len, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES);
    if (::send(socket_.get(), buffer.data(), std::size_t{begin->nlmsg_len} + end->nlmsg_len, 0) < 0)
        return fail_errno("wait for nf_tables' transactions");
    return {};
}

}  // namespace ghostip::kernel::nft

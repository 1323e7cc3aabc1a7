#include "support/conntrack.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include <array>
#include <memory>

namespace ghostip::testnet {

Result<void> flush_conntrack(const Namespace& where) {
    const auto inside = where.enter();
    const std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC),
                                                                   mnl_socket_close);
    if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) return fail_errno("open a netlink socket");

    alignas(nlmsghdr) std::array<char, 4096> buffer{};
    auto* header = mnl_nlmsg_put_header(buffer.data());
    header->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    header->nlmsg_seq = 1;
    auto* message = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
    message->nfgen_family = AF_UNSPEC;
    message->version = NFNETLINK_V0;
    if (mnl_socket_sendto(socket.get(), header, header->nlmsg_len) < 0) return fail_errno("flush conntrack");
    const auto got = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
    if (got < 0 || mnl_cb_run(buffer.data(), static_cast<std::size_t>(got), 1, mnl_socket_get_portid(socket.get()),
                              nullptr, nullptr) < 0)
        return fail_errno("flush conntrack");
    return {};
}

}  // namespace ghostip::testnet

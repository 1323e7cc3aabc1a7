#include "kernel/nft/linux.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "kernel/netlink/attributes.h"

namespace ghostip::kernel::nft {
namespace {

constexpr std::size_t kReceiveBytes = 1 << 16;
constexpr int kReceiveBuffer = 4 << 20;  // a batch of many refused messages answers each
constexpr int kInterruptedRetries = 10;

std::uint8_t nf_family(net::Family family) { return family == net::Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6; }

// The kernel's own words for a refusal (extended acknowledgement), if it has any.
std::string extended_message(const nlmsghdr* message) {
    if ((message->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return {};
    const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
    std::size_t skip = sizeof(nlmsgerr);
    if ((message->nlmsg_flags & NLM_F_CAPPED) == 0) skip += error->msg.nlmsg_len - sizeof(nlmsghdr);
    std::string text;
    for (const nlattr* attribute : netlink::attributes(message, skip))
        if (mnl_attr_get_type(attribute) == NLMSGERR_ATTR_MSG) text = mnl_attr_get_str(attribute);
    return text;
}

struct SetDump {
    Elements* elements;
    std::size_t key_bytes;
    std::size_t data_bytes;
};

void copy_value(const nlattr* nest, std::vector<std::uint8_t>& out, std::size_t size) {
    const std::size_t at = out.size();
    out.resize(at + size);
    if (nest == nullptr) return;
    for (const nlattr* attribute : netlink::nested(nest))
        if (mnl_attr_get_type(attribute) == NFTA_DATA_VALUE)
            std::memcpy(out.data() + at, mnl_attr_get_payload(attribute),
                        std::min<std::size_t>(size, mnl_attr_get_payload_len(attribute)));
}

void take_element(const nlattr* element, SetDump& dump) {
    const nlattr* key = nullptr;
    const nlattr* data = nullptr;
    for (const nlattr* part : netlink::nested(element)) {
        if (mnl_attr_get_type(part) == NFTA_SET_ELEM_KEY) key = part;
        if (mnl_attr_get_type(part) == NFTA_SET_ELEM_DATA) data = part;
    }
    copy_value(key, dump.elements->bytes, dump.key_bytes);
    if (dump.data_bytes != 0) copy_value(data, dump.elements->bytes, dump.data_bytes);
}

int take_elements(const nlmsghdr* message, void* context) {
    auto& dump = *static_cast<SetDump*>(context);
    for (const nlattr* attribute : netlink::attributes(message, sizeof(nfgenmsg)))
        if (mnl_attr_get_type(attribute) == NFTA_SET_ELEM_LIST_ELEMENTS)
            for (const nlattr* element : netlink::nested(attribute)) take_element(element, dump);
    return MNL_CB_OK;
}

int note_existence(const nlmsghdr* /*message*/, void* context) {
    *static_cast<bool*>(context) = true;
    return MNL_CB_OK;
}

}  // namespace

Result<std::unique_ptr<LinuxKernel>> LinuxKernel::open() {
    Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
    if (!socket) return fail_errno("open a netfilter netlink socket");
    const int on = 1;
    ::setsockopt(socket.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
    ::setsockopt(socket.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer);
    sockaddr_nl local{};
    local.nl_family = AF_NETLINK;
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) < 0)
        return fail_errno("bind a netfilter netlink socket");
    return std::unique_ptr<LinuxKernel>(new LinuxKernel(std::move(socket)));
}

Result<void> LinuxKernel::commit(const Batch& batch) {
    if (batch.empty()) return {};
    return transact(batch, Ending::kCommit);
}

Result<void> LinuxKernel::check(const Batch& batch) {
    if (batch.empty()) return {};
    return transact(batch, Ending::kFailOnPurpose);
}

// One message must fit into the socket's send buffer. Forcing needs CAP_NET_ADMIN in the first user namespace; where
// that is missing the ordinary limit applies, and a batch beyond it is refused by the kernel with EMSGSIZE.
void LinuxKernel::grow_send_buffer(std::size_t bytes) {
    const std::size_t wanted = bytes + 4096;
    if (wanted <= send_buffer_) return;
    const int value = static_cast<int>(wanted);
    if (::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &value, sizeof value) < 0)
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &value, sizeof value);
    send_buffer_ = wanted;
}

Result<void> LinuxKernel::send(const std::vector<std::uint8_t>& bytes) {
    grow_send_buffer(bytes.size());
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    ssize_t sent = 0;
    do {
        sent = ::sendto(socket_.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&kernel),
                        sizeof kernel);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return fail_errno("send {} bytes to nf_tables", bytes.size());
    return {};
}

// The kernel works on a batch inside the send call, so all answers are there when it returns.
Result<void> LinuxKernel::transact(const Batch& batch, Ending ending) {
    ASSIGN_OR_RETURN(const EncodedBatch encoded, encode(batch, sequence_, ending));
    const auto messages = static_cast<std::uint32_t>(encoded.operation_of.size());
    sequence_ += messages + 2;
    RETURN_IF_ERROR(send(encoded.bytes));

    receive_buffer_.resize(kReceiveBytes);
    bool answered = false;
    std::optional<Error> first_error;
    std::uint32_t first_error_sequence = 0;
    while (true) {
        const ssize_t received = ::recv(socket_.get(), receive_buffer_.data(), receive_buffer_.size(), MSG_DONTWAIT);
        if (received < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) break;
            if (errno == ENOBUFS) {  // so many refusals that some were lost; those that came name the first
                answered = true;
                continue;
            }
            return fail_errno("read nf_tables' answer");
        }
        int left = static_cast<int>(received);
        for (auto* message = reinterpret_cast<const nlmsghdr*>(receive_buffer_.data()); mnl_nlmsg_ok(message, left);
             message = mnl_nlmsg_next(message, &left)) {
            const std::uint32_t index = message->nlmsg_seq - encoded.first_sequence;
            if (message->nlmsg_type != NLMSG_ERROR || index > messages + 1) continue;
            const int code = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error;
            if (message->nlmsg_seq == encoded.last_sequence) answered = true;
            if (code == 0) continue;
            answered = true;
            const bool on_purpose =
                ending == Ending::kFailOnPurpose && message->nlmsg_seq == encoded.last_sequence && code == ENOENT;
            if (on_purpose || (first_error && message->nlmsg_seq >= first_error_sequence)) continue;
            first_error_sequence = message->nlmsg_seq;
            const std::string what =
                index >= 1 && index <= messages && encoded.operation_of[index - 1] < batch.operations.size()
                    ? describe(batch.operations[encoded.operation_of[index - 1]])
                    : "commit";
            const std::string words = extended_message(message);
            first_error = errno_error(code, fmt::format("nf_tables table {}: {}{}", batch.table.name, what,
                                                        words.empty() ? "" : fmt::format(" ({})", words)));
        }
    }
    if (first_error) return *first_error;
    if (!answered) return fail("nf_tables table {}: the kernel did not answer", batch.table.name);
    return {};
}

Result<Elements> LinuxKernel::read(const Table& table, const Set& set) {
    Elements elements;
    elements.set = set.name;
    elements.key_bytes = static_cast<std::uint16_t>(fields_size(set.key, table.family));
    elements.data_bytes = static_cast<std::uint16_t>(fields_size(set.data, table.family));
    receive_buffer_.resize(kReceiveBytes);
    for (int attempt = 0; attempt < kInterruptedRetries; ++attempt) {
        std::array<char, 1024> request{};
        auto* header = mnl_nlmsg_put_header(request.data());
        header->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM;
        header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
        header->nlmsg_seq = sequence_++;
        auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
        family->nfgen_family = nf_family(table.family);
        family->version = NFNETLINK_V0;
        mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, table.name.c_str());
        mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, set.name.c_str());
        RETURN_IF_ERROR(send({request.data(), request.data() + header->nlmsg_len}));

        elements.bytes.clear();
        SetDump dump{&elements, elements.key_bytes, elements.data_bytes};
        int state = MNL_CB_OK;
        while (state > MNL_CB_STOP) {
            const ssize_t received = ::recv(socket_.get(), receive_buffer_.data(), receive_buffer_.size(), 0);
            if (received < 0 && errno == EINTR) continue;
            if (received < 0) return fail_errno("read set {}", set.name);
            state = mnl_cb_run(receive_buffer_.data(), static_cast<std::size_t>(received), header->nlmsg_seq, 0,
                               take_elements, &dump);
        }
        if (state == MNL_CB_STOP) return elements;
        if (errno != EINTR) return fail_errno("read set {}", set.name);  // EINTR: changed while being read
    }
    return fail("read set {}: it changed {} times while being read", set.name, kInterruptedRetries);
}

Result<bool> LinuxKernel::exists(const Table& table) {
    std::array<char, 1024> request{};
    auto* header = mnl_nlmsg_put_header(request.data());
    header->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    header->nlmsg_seq = sequence_++;
    auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
    family->nfgen_family = nf_family(table.family);
    family->version = NFNETLINK_V0;
    mnl_attr_put_strz(header, NFTA_TABLE_NAME, table.name.c_str());
    RETURN_IF_ERROR(send({request.data(), request.data() + header->nlmsg_len}));
    receive_buffer_.resize(kReceiveBytes);
    bool found = false;
    int state = MNL_CB_OK;
    while (state > MNL_CB_STOP) {
        const ssize_t received = ::recv(socket_.get(), receive_buffer_.data(), receive_buffer_.size(), 0);
        if (received < 0 && errno == EINTR) continue;
        if (received < 0) return fail_errno("look for table {}", table.name);
        state = mnl_cb_run(receive_buffer_.data(), static_cast<std::size_t>(received), header->nlmsg_seq, 0,
                           note_existence, &found);
    }
    if (state < MNL_CB_STOP && errno != ENOENT) return fail_errno("look for table {}", table.name);
    return found;
}

}  // namespace ghostip::kernel::nft

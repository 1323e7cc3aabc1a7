#include "kernel/nft/linux.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/membarrier.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "kernel/netlink/attributes.h"
#include "kernel/netlink/messages.h"
#include "kernel/nft/decode.h"

namespace ghostip::kernel::nft {
namespace {

constexpr std::size_t kReceiveBytes = 1 << 16;
constexpr int kReceiveBuffer = 4 << 20;  // a batch of many refused messages answers each
constexpr int kInterruptedRetries = 3;
constexpr std::chrono::milliseconds kWithoutBarrier(20);

std::uint8_t nf_family(net::Family family) { return family == net::Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6; }

// What the kernel adds to a refusal (extended acknowledgement).
struct Details {
    std::string words;
    std::optional<std::size_t> attribute_offset;  // of the attribute that is at fault, in the refused message
};

Details details_of(const nlmsghdr* message) {
    Details details;
    if ((message->nlmsg_flags & NLM_F_ACK_TLVS) == 0 || message->nlmsg_len < NLMSG_HDRLEN + sizeof(nlmsgerr))
        return details;
    const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
    std::size_t skip = sizeof(nlmsgerr);
    if ((message->nlmsg_flags & NLM_F_CAPPED) == 0) skip += error->msg.nlmsg_len - sizeof(nlmsghdr);
    for (const nlattr* attribute : netlink::attributes(message, skip)) {
        const std::size_t size = mnl_attr_get_payload_len(attribute);
        if (mnl_attr_get_type(attribute) == NLMSGERR_ATTR_MSG)
            details.words.assign(mnl_attr_get_str(attribute), ::strnlen(mnl_attr_get_str(attribute), size));
        if (mnl_attr_get_type(attribute) == NLMSGERR_ATTR_OFFS && size == sizeof(std::uint32_t))
            details.attribute_offset = mnl_attr_get_u32(attribute);
    }
    return details;
}

nlmsghdr* put_request(void* at, std::uint16_t type, std::uint16_t flags, std::uint32_t sequence, const Table& table) {
    auto* header = mnl_nlmsg_put_header(at);
    header->nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type);
    header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    header->nlmsg_seq = sequence;
    auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
    family->nfgen_family = nf_family(table.family);
    family->version = NFNETLINK_V0;
    return header;
}

int message_type(const nlmsghdr* message) { return message->nlmsg_type & 0xff; }

Elements empty_elements(const Set& set, net::Family family) {
    return {set.name,
            static_cast<std::uint16_t>(fields_size(set.key, family)),
            static_cast<std::uint16_t>(fields_size(set.data, family)),
            {}};
}

template <typename Handle>
void each_element(const nlmsghdr* message, Handle handle) {
    for (const nlattr* attribute : netlink::attributes(message, sizeof(nfgenmsg)))
        if (mnl_attr_get_type(attribute) == NFTA_SET_ELEM_LIST_ELEMENTS)
            for (const nlattr* element : netlink::nested(attribute)) handle(element);
}

void take_element(const nlattr* element, Elements& elements) {
    decode_element(element, elements.key_bytes, elements.data_bytes, elements.bytes);
}

void take_elements(const nlmsghdr* message, Elements& elements) {
    each_element(message, [&](const nlattr* element) { take_element(element, elements); });
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
    socklen_t size = sizeof local;
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&local), size) < 0 ||
        ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&local), &size) < 0)
        return fail_errno("bind a netfilter netlink socket");
    return std::unique_ptr<LinuxKernel>(new LinuxKernel(std::move(socket), local.nl_pid));
}

Result<void> LinuxKernel::commit(const Batch& batch, Refusal* refusal) {
    if (batch.empty()) return {};
    return transact(batch, Ending::kCommit, refusal);
}

Result<void> LinuxKernel::check(const Batch& batch) {
    if (batch.empty()) return {};
    return transact(batch, Ending::kFailOnPurpose, nullptr);
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

Result<void> LinuxKernel::send(std::span<const std::uint8_t> bytes) {
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
Result<void> LinuxKernel::transact(const Batch& batch, Ending ending, Refusal* refusal) {
    ASSIGN_OR_RETURN(const EncodedBatch encoded, encode(batch, sequence_, ending));
    const auto messages = static_cast<std::uint32_t>(encoded.messages.size());
    sequence_ += messages + 2;
    RETURN_IF_ERROR(send(encoded.bytes));

    receive_buffer_.resize(kReceiveBytes);
    bool answered = false;
    bool lost = false;
    std::optional<Error> first_error;
    std::uint32_t first_error_sequence = 0;
    while (true) {
        const ssize_t received = ::recv(socket_.get(), receive_buffer_.data(), receive_buffer_.size(), MSG_DONTWAIT);
        if (received < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) break;
            if (errno == ENOBUFS) {  // so many refusals that some were lost; those that came name the first
                lost = true;
                continue;
            }
            return fail_errno("read nf_tables' answer");
        }
        for (const nlmsghdr* message : netlink::messages(receive_buffer_.data(), static_cast<std::size_t>(received))) {
            const std::uint32_t index = message->nlmsg_seq - encoded.first_sequence;
            if (message->nlmsg_type != NLMSG_ERROR || index > messages + 1) continue;
            const int code = netlink::error_code(message);
            if (message->nlmsg_seq == encoded.last_sequence) answered = true;
            if (code == 0) continue;
            answered = true;
            const bool on_purpose =
                ending == Ending::kFailOnPurpose && message->nlmsg_seq == encoded.last_sequence && code == ENOENT;
            if (on_purpose || (first_error && message->nlmsg_seq >= first_error_sequence)) continue;
            first_error_sequence = message->nlmsg_seq;
            std::string what = "commit";
            const Details details = details_of(message);
            if (refusal != nullptr) *refusal = {};
            if (index >= 1 && index <= messages && encoded.messages[index - 1].operation < batch.operations.size()) {
                const auto& refused = encoded.messages[index - 1];
                what = describe(batch.operations[refused.operation]);
                if (refusal != nullptr) {
                    refusal->operation = refused.operation;
                    if (details.attribute_offset)
                        refusal->element = encoded.element_at(refused, *details.attribute_offset);
                }
            }
            first_error =
                errno_error(code, fmt::format("nf_tables table {}: {}{}", batch.table.name, what,
                                              details.words.empty() ? "" : fmt::format(" ({})", details.words)));
        }
    }
    if (first_error) return *first_error;
    if (!answered && lost) return errno_error(ENOBUFS, fmt::format("nf_tables table {}: commit", batch.table.name));
    if (!answered) return fail("nf_tables table {}: the kernel did not answer", batch.table.name);
    return {};
}

Result<bool> LinuxKernel::dump(const nlmsghdr* request, const Handler& handle) {
    RETURN_IF_ERROR(send({reinterpret_cast<const std::uint8_t*>(request), request->nlmsg_len}));
    receive_buffer_.resize(kReceiveBytes);
    bool consistent = true;
    while (true) {
        const ssize_t received = ::recv(socket_.get(), receive_buffer_.data(), receive_buffer_.size(), 0);
        if (received < 0 && errno == EINTR) continue;
        if (received < 0) return fail_errno("read what nf_tables holds");
        for (const nlmsghdr* message : netlink::messages(receive_buffer_.data(), static_cast<std::size_t>(received))) {
            if (message->nlmsg_seq != request->nlmsg_seq) continue;  // what an earlier, broken-off request left
            if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) consistent = false;
            if (message->nlmsg_type == NLMSG_DONE) return consistent;
            if (message->nlmsg_type == NLMSG_ERROR) {
                const int code = netlink::error_code(message);
                return errno_error(code, "read what nf_tables holds");
            }
            handle(message);
        }
    }
}

Result<bool> LinuxKernel::dump_elements(const Table& table, const Set& set, const std::function<void()>& begin,
                                        const Handler& handle) {
    bool consistent = false;
    // Whoever commits anything to nf_tables meanwhile makes the kernel call a dump interrupted; on a busy host every
    // long one is.
    for (int attempt = 0; attempt < kInterruptedRetries && !consistent; ++attempt) {
        std::array<char, 1024> buffer{};
        auto* request = put_request(buffer.data(), NFT_MSG_GETSETELEM, NLM_F_DUMP, sequence_++, table);
        mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_TABLE, table.name.c_str());
        mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, set.name.c_str());
        begin();
        auto dumped = dump(request, handle);
        if (!dumped) return dumped.error().within(fmt::format("set {}", set.name));
        consistent = *dumped;
    }
    return consistent;
}

Result<Dump> LinuxKernel::read(const Table& table, const Set& set) {
    Dump result{empty_elements(set, table.family), false};
    ASSIGN_OR_RETURN(result.consistent, dump_elements(
                                            table, set, [&] { result.elements.bytes.clear(); },
                                            [&](const nlmsghdr* message) { take_elements(message, result.elements); }));
    return result;
}

Result<CountedDump> LinuxKernel::read_counts(const Table& table, const Set& set) {
    CountedDump result{empty_elements(set, table.family), {}, false};
    const auto begin = [&] {
        result.elements.bytes.clear();
        result.counts.clear();
    };
    ASSIGN_OR_RETURN(result.consistent, dump_elements(table, set, begin, [&](const nlmsghdr* message) {
                         each_element(message, [&](const nlattr* element) {
                             take_element(element, result.elements);
                             if (result.elements.count() > result.counts.size())
                                 result.counts.push_back(decode_count(element));
                         });
                     }));
    return result;
}

Result<bool> LinuxKernel::read_contents(const Table& table, Contents& contents) {
    const auto ask = [&](std::uint16_t type, std::uint16_t table_attribute, const Handler& handle) {
        std::array<char, 1024> buffer{};
        auto* request = put_request(buffer.data(), type, NLM_F_DUMP, sequence_++, table);
        mnl_attr_put_strz(request, table_attribute, table.name.c_str());
        return dump(request, handle);
    };
    // Of chains the kernel sends those of all tables; it has no filter for them.
    auto chains = ask(NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, [&](const nlmsghdr* message) {
        auto [owner, chain] = decode_chain(message);
        if (message_type(message) != NFT_MSG_NEWCHAIN || owner != table.name) return;
        const std::string name = chain.name;
        contents.chains[name] = std::move(chain);
    });
    if (!chains) return chains.error().within("chains");
    auto rules = ask(NFT_MSG_GETRULE, NFTA_RULE_TABLE, [&](const nlmsghdr* message) {
        if (message_type(message) != NFT_MSG_NEWRULE) return;
        auto [chain, rule] = decode_rule(message, table.family);
        contents.chains[chain].name = chain;
        contents.chains[chain].rules.push_back(std::move(rule));
    });
    if (!rules) return rules.error().within("rules");
    auto sets = ask(NFT_MSG_GETSET, NFTA_SET_TABLE, [&](const nlmsghdr* message) {
        if (message_type(message) != NFT_MSG_NEWSET) return;
        auto set = decode_set(message, table.family);
        if (!set) return;
        const std::string name = set->name;
        contents.sets[name] = std::move(*set);
    });
    if (!sets && sets.error().code == ENOENT) return false;  // the table went meanwhile
    if (!sets) return sets.error().within("sets");
    return *chains && *rules && *sets;
}

// Beside a steady writer and many chains every dump is interrupted. Two in a row that say the same are believed: a
// difference that is none would be refused, and seen again.
Result<std::optional<Contents>> LinuxKernel::contents(const Table& table) {
    constexpr int kReadings = 20;
    std::optional<Contents> before;
    for (int reading = 0; reading < kReadings; ++reading) {
        ASSIGN_OR_RETURN(const auto flags, table_flags(table));
        if (!flags) return std::optional<Contents>();
        Contents contents;
        contents.flags = *flags;
        ASSIGN_OR_RETURN(const bool consistent, read_contents(table, contents));
        if (consistent || before == contents) return std::optional(std::move(contents));
        before = std::move(contents);
    }
    return errno_error(EINTR, fmt::format("table {} changed {} times while being read", table.name, kReadings));
}

Result<void> LinuxKernel::answers(std::uint32_t first, std::uint32_t requests, const Handler& handle) {
    receive_buffer_.resize(kReceiveBytes);
    std::optional<Error> error;
    for (std::uint32_t answered = 0; answered < requests;) {
        const ssize_t received = ::recv(socket_.get(), receive_buffer_.data(), receive_buffer_.size(), 0);
        if (received < 0 && errno == EINTR) continue;
        if (received < 0) return fail_errno("read nf_tables' answer");
        for (const nlmsghdr* message : netlink::messages(receive_buffer_.data(), static_cast<std::size_t>(received))) {
            if (message->nlmsg_seq - first >= requests) continue;
            ++answered;
            if (message->nlmsg_type != NLMSG_ERROR) {
                handle(message);
                continue;
            }
            const int code = netlink::error_code(message);
            if (code != 0 && code != ENOENT && !error) error = errno_error(code, "ask nf_tables");
        }
    }
    if (error) return *error;
    return {};
}

Result<Elements> LinuxKernel::look_up(const Table& table, const Set& set, const Elements& keys) {
    constexpr std::size_t kAtOnce = 128;        // their answers fit into any receive buffer
    constexpr std::size_t kRequestBytes = 512;  // names of up to 255 characters and a key
    Elements found = empty_elements(set, table.family);
    std::vector<std::uint8_t> buffer;
    for (std::size_t from = 0; from < keys.count(); from += kAtOnce) {
        const std::size_t until = std::min(keys.count(), from + kAtOnce);
        const std::uint32_t first = sequence_;
        buffer.clear();
        // One key a message: a message with several ends at the first that is not there.
        for (std::size_t i = from; i < until; ++i) {
            const std::size_t at = buffer.size();
            buffer.resize(at + kRequestBytes + 2 * table.name.size());
            auto* request = put_request(buffer.data() + at, NFT_MSG_GETSETELEM, 0, sequence_++, table);
            mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_TABLE, table.name.c_str());
            mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, set.name.c_str());
            nlattr* list = mnl_attr_nest_start(request, NFTA_SET_ELEM_LIST_ELEMENTS);
            nlattr* element = mnl_attr_nest_start(request, NFTA_LIST_ELEM);
            nlattr* key = mnl_attr_nest_start(request, NFTA_SET_ELEM_KEY);
            mnl_attr_put(request, NFTA_DATA_VALUE, stored_size(set.key, table.family), keys.at(i).data());
            mnl_attr_nest_end(request, key);
            mnl_attr_nest_end(request, element);
            mnl_attr_nest_end(request, list);
            buffer.resize(at + NLMSG_ALIGN(request->nlmsg_len));
        }
        RETURN_IF_ERROR(send(buffer));
        const auto result = answers(first, static_cast<std::uint32_t>(until - from),
                                    [&](const nlmsghdr* message) { take_elements(message, found); });
        if (!result) return result.error().within(fmt::format("set {}", set.name));
    }
    return found;
}

Result<bool> LinuxKernel::has_catch_all(const Table& table, const Set& set) {
    std::array<char, 1024> buffer{};
    const std::uint32_t sequence = sequence_++;
    auto* request = put_request(buffer.data(), NFT_MSG_GETSETELEM, 0, sequence, table);
    mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_TABLE, table.name.c_str());
    mnl_attr_put_strz(request, NFTA_SET_ELEM_LIST_SET, set.name.c_str());
    nlattr* list = mnl_attr_nest_start(request, NFTA_SET_ELEM_LIST_ELEMENTS);
    nlattr* element = mnl_attr_nest_start(request, NFTA_LIST_ELEM);
    mnl_attr_put_u32(request, NFTA_SET_ELEM_FLAGS, htonl(kCatchAllFlag));
    mnl_attr_nest_end(request, element);
    mnl_attr_nest_end(request, list);
    RETURN_IF_ERROR(send({reinterpret_cast<const std::uint8_t*>(request), request->nlmsg_len}));
    bool found = false;
    const auto result = answers(sequence, 1, [&](const nlmsghdr*) { found = true; });
    if (!result) return result.error().within(fmt::format("set {}", set.name));
    return found;
}

Result<bool> LinuxKernel::exists(const Table& table) {
    ASSIGN_OR_RETURN(const auto flags, table_flags(table));
    return flags.has_value();
}

Result<std::optional<std::uint32_t>> LinuxKernel::table_flags(const Table& table) {
    std::array<char, 1024> buffer{};
    const std::uint32_t sequence = sequence_++;
    auto* request = put_request(buffer.data(), NFT_MSG_GETTABLE, 0, sequence, table);
    mnl_attr_put_strz(request, NFTA_TABLE_NAME, table.name.c_str());
    RETURN_IF_ERROR(send({reinterpret_cast<const std::uint8_t*>(request), request->nlmsg_len}));
    std::optional<std::uint32_t> flags;
    const auto result = answers(sequence, 1, [&](const nlmsghdr* message) {
        flags = 0;
        for (const nlattr* attribute : netlink::attributes(message, sizeof(nfgenmsg)))
            if (mnl_attr_get_type(attribute) == NFTA_TABLE_FLAGS &&
                mnl_attr_get_payload_len(attribute) == sizeof(std::uint32_t))
                flags = ntohl(mnl_attr_get_u32(attribute));
    });
    if (!result) return result.error().within(fmt::format("table {}", table.name));
    return flags;
}

// Packets are in rules as readers of RCU, and this barrier waits for those of all processors (Linux 4.3,
// kernel/sched/membarrier.c). It is refused where a processor is nohz_full, and does nothing where there is only one,
// although a preemptible kernel may hold up a packet there too.
void LinuxKernel::wait_for_packets() {
    const bool waited = ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0U, 0) == 0;
    if (!waited || one_processor_) std::this_thread::sleep_for(kWithoutBarrier);
}

}  // namespace ghostip::kernel::nft

#include "relay/handover_wire.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "relay/handover_path.h"

namespace ghostip::relay::wire {
namespace {

constexpr std::uint32_t kMagic = 0x4f484947;  // "GIHO" in little endian

template <typename Number>
void put(std::string& bytes, Number number) {
    bytes.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void put(std::string& bytes, std::string_view name) {
    put(bytes, static_cast<std::uint16_t>(name.size()));
    bytes += name;
}

void put(std::string& bytes, const net::IpAddress& address) {
    put(bytes, static_cast<std::uint8_t>(address.family()));
    bytes.append(reinterpret_cast<const char*>(address.bytes().data()), address.bytes().size());
}

void put(std::string& bytes, const SocketAddress& address) {
    put(bytes, address.address);
    put(bytes, address.port);
}

void put(std::string& bytes, const NamedAffinity& named) {
    const auto& [client, endpoint, unused] = named.affinity;
    put(bytes, std::string_view(named.service));
    put(bytes, client);
    put(bytes, endpoint);
    put(bytes, static_cast<std::uint32_t>(unused.count()));
}

void put(std::string& bytes, const NamedFlow& named) {
    const auto& flow = named.flow;
    put(bytes, std::string_view(named.listener));
    put(bytes, flow.socket);
    put(bytes, flow.client);
    put(bytes, flow.client_scope);
    put(bytes, flow.local);
    put(bytes, flow.local_scope);
    put(bytes, flow.endpoint);
}

// Takes from the front; remembers whether there was too little.
class Reader {
  public:
    explicit Reader(std::string_view bytes) : rest_(bytes) {}
    template <typename Number>
    Number number() {
        Number value{};
        const auto bytes = take(sizeof value);
        if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }
    std::string_view take(std::size_t size) {
        short_ = short_ || size > rest_.size();
        if (short_) return {};
        const auto taken = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return taken;
    }
    std::string name() {
        const auto name = take(number<std::uint16_t>());
        wrong_ = wrong_ || name.empty() || name.size() > kLongestName;
        return std::string(name);
    }
    net::IpAddress address() {
        const auto family = net::Family{number<std::uint8_t>()};
        wrong_ = wrong_ || (family != net::Family::kIpv4 && family != net::Family::kIpv6);
        if (wrong_) return {};
        const auto bytes = take(static_cast<std::size_t>(net::address_bits(family)) / 8);
        if (short_) return {};
        return net::IpAddress::from_bytes(family, reinterpret_cast<const std::uint8_t*>(bytes.data()));
    }
    SocketAddress socket_address() {
        const auto ip = address();
        return {ip, number<std::uint16_t>()};
    }
    std::string_view rest() { return take(rest_.size()); }
    // All was there and nothing is left.
    [[nodiscard]] bool fits() const { return !short_ && !wrong_ && rest_.empty(); }
    [[nodiscard]] bool more() const { return !short_ && !wrong_ && !rest_.empty(); }

  private:
    std::string_view rest_;
    bool short_ = false;
    bool wrong_ = false;  // what was read is no name or no address
};

// None is none that fits: an empty list is not sent.
template <typename T, typename Take>
std::vector<T> parse_list(Reader& reader, Take take) {
    std::vector<T> list;
    do list.push_back(take());
    while (reader.more());
    return list;
}

NamedAffinity parse_affinity(Reader& reader) {
    NamedAffinity named{reader.name(), {}};
    named.affinity.client = reader.address();
    named.affinity.endpoint = reader.socket_address();
    named.affinity.unused = std::chrono::milliseconds(reader.number<std::uint32_t>());
    return named;
}

NamedFlow parse_flow(Reader& reader) {
    NamedFlow named{reader.name(), {}};
    named.flow.socket = reader.number<std::uint16_t>();
    named.flow.client = reader.socket_address();
    named.flow.client_scope = reader.number<std::uint32_t>();
    named.flow.local = reader.socket_address();
    named.flow.local_scope = reader.number<std::uint32_t>();
    named.flow.endpoint = reader.socket_address();
    return named;
}

Result<std::vector<Entry>> parse_entries(Reader& reader) {
    std::vector<Entry> entries;
    std::size_t sockets = 0;
    while (reader.more()) {
        Entry entry;
        entry.protocol = net::Protocol{reader.number<std::uint8_t>()};
        entry.sockets = reader.number<std::uint16_t>();
        const auto length = reader.number<std::uint16_t>();
        entry.name = reader.take(length);
        if (entry.protocol != net::Protocol::kTcp && entry.protocol != net::Protocol::kUdp)
            return fail("a listener of protocol number {}", static_cast<int>(entry.protocol));
        if (entry.name.empty() || entry.name.size() > kLongestName || entry.sockets == 0)
            return fail("a listener with a name of {} bytes and {} sockets", length, entry.sockets);
        sockets += entry.sockets;
        if (sockets > kMostDescriptors) return fail("a batch of more than {} sockets", kMostDescriptors);
        entries.push_back(std::move(entry));
    }
    if (entries.empty()) return fail("a batch without listeners");
    return entries;
}

std::vector<Fd> descriptors_beside(msghdr& header) {
    std::vector<Fd> descriptors;
    for (auto* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
        const auto count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int descriptor = -1;
            std::memcpy(&descriptor, CMSG_DATA(control) + i * sizeof(int), sizeof descriptor);
            descriptors.emplace_back(descriptor);
        }
    }
    return descriptors;
}

constexpr std::size_t kControlSize = CMSG_SPACE(kMostDescriptors * sizeof(int));

Result<void> wait_for_message(int socket, std::chrono::steady_clock::time_point deadline) {
    for (;;) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
        pollfd wanted{socket, POLLIN, 0};
        const int ready = ::poll(&wanted, 1, static_cast<int>(std::clamp<decltype(left)>(left, 0, 1'000'000)));
        if (ready > 0) return {};
        if (ready < 0 && errno != EINTR) return fail_errno("wait for the other process");
        if (left <= 0) return errno_error(ETIMEDOUT, "the other process does not answer");
    }
}

constexpr std::size_t kLongestAddress = 1 + 16 + 2;

}  // namespace

std::size_t size_of(std::string_view name) { return 2 + name.size(); }
std::size_t size_of(const NamedAffinity& affinity) { return size_of(affinity.service) + 2 * kLongestAddress + 4; }
std::size_t size_of(const NamedFlow& session) { return size_of(session.listener) + 3 * kLongestAddress + 10; }

std::string encode(const Message& message) {
    std::string bytes;
    put(bytes, kMagic);
    put(bytes, kVersion);
    put(bytes, static_cast<std::uint16_t>(message.kind));
    if (message.kind == Kind::kOffer) {
        put(bytes, message.listeners);
        put(bytes, message.sockets);
    }
    if (message.features != 0) put(bytes, message.features);
    for (const auto& entry : message.entries) {
        put(bytes, static_cast<std::uint8_t>(entry.protocol));
        put(bytes, entry.sockets);
        put(bytes, static_cast<std::uint16_t>(entry.name.size()));
        bytes += entry.name;
    }
    bytes.append(message.text, 0, kLongestText);
    for (const auto& name : message.names) put(bytes, std::string_view(name));
    for (const auto& affinity : message.affinities) put(bytes, affinity);
    for (const auto& session : message.sessions) put(bytes, session);
    return bytes;
}

Result<Message> parse(std::string_view bytes) {
    Reader reader(bytes);
    if (reader.number<std::uint32_t>() != kMagic) return fail("not a message of a hand-over");
    // Before anything else: only these eight bytes are the same in all versions.
    const auto version = reader.number<std::uint16_t>();
    const auto kind = reader.number<std::uint16_t>();
    if (version != kVersion)
        return errno_error(EPROTONOSUPPORT,
                           fmt::format("the other process speaks version {} of the hand-over, this one version {}",
                                       version, kVersion));
    Message message;
    message.kind = Kind{kind};
    switch (message.kind) {
        case Kind::kOffer:
            message.listeners = reader.number<std::uint32_t>();
            message.sockets = reader.number<std::uint32_t>();
            [[fallthrough]];
        case Kind::kAsk:
            if (!reader.more()) break;
            message.features = reader.number<std::uint32_t>();
            if (message.features == 0) return fail("a message of kind {} with features, but none", kind);
            break;
        case Kind::kBatch: {
            ASSIGN_OR_RETURN(message.entries, parse_entries(reader));
            break;
        }
        case Kind::kBusy:
        case Kind::kRefused:
        case Kind::kWithdrawn:
            message.text = reader.rest();
            if (message.text.size() > kLongestText) return fail("a reason of {} bytes", message.text.size());
            break;
        case Kind::kAdopted: message.names = parse_list<std::string>(reader, [&] { return reader.name(); }); break;
        case Kind::kAffinities:
            message.affinities = parse_list<NamedAffinity>(reader, [&] { return parse_affinity(reader); });
            break;
        case Kind::kSessions:
            message.sessions = parse_list<NamedFlow>(reader, [&] { return parse_flow(reader); });
            if (message.sessions.size() > kMostDescriptors)
                return fail("{} sessions in a message", message.sessions.size());
            break;
        case Kind::kNext:
        case Kind::kEnd:
        case Kind::kTaken:
        case Kind::kReleased:
        case Kind::kWrites: break;
        default: return fail("a message of unknown kind {}", kind);
    }
    if (!reader.fits()) return fail("a message of kind {} with {} bytes, which does not fit", kind, bytes.size());
    return message;
}

Result<void> send(int socket, const Message& message, std::span<const Fd> descriptors) {
    auto bytes = encode(message);
    iovec part{bytes.data(), bytes.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, kControlSize> control{};
    if (!descriptors.empty()) {
        header.msg_control = control.data();
        header.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
        auto* rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
        for (std::size_t i = 0; i < descriptors.size(); ++i) {
            const int descriptor = descriptors[i].get();
            std::memcpy(CMSG_DATA(rights) + i * sizeof(int), &descriptor, sizeof descriptor);
        }
    }
    for (;;) {
        if (::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return {};
        if (errno != EINTR) return fail_errno("tell the other process");
    }
}

Result<std::optional<Received>> receive(int socket, std::chrono::steady_clock::time_point deadline,
                                        Descriptors descriptors) {
    std::string bytes(kLongestMessage, '\0');
    alignas(cmsghdr) std::array<char, kControlSize> control{};
    for (bool reset = false;;) {
        RETURN_IF_ERROR(wait_for_message(socket, deadline));
        iovec part{bytes.data(), bytes.size()};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        if (descriptors != Descriptors::kRefuse) {
            header.msg_control = control.data();
            header.msg_controllen = control.size();
        }
        const auto got = ::recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        // It closed with messages unread: told once, before what it had sent.
        if (got < 0 && errno == ECONNRESET && !std::exchange(reset, true)) continue;
        if (got == 0 || (got < 0 && errno == ECONNRESET)) return std::optional<Received>();
        if (got < 0) return fail_errno("hear from the other process");
        Received received;
        received.descriptors = descriptors_beside(header);
        if ((header.msg_flags & MSG_TRUNC) != 0) return fail("a message of more than {} bytes", kLongestMessage);
        if ((header.msg_flags & MSG_CTRUNC) != 0 && descriptors == Descriptors::kTake)
            return errno_error(EMFILE,
                               fmt::format("only {} sockets of a message arrived", received.descriptors.size()));
        ASSIGN_OR_RETURN(received.message, parse({bytes.data(), static_cast<std::size_t>(got)}));
        return std::optional<Received>(std::move(received));
    }
}

Result<void> check_peer(int socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return fail_errno("ask who the other process is");
    if (peer.uid == 0 || peer.uid == ::geteuid()) return {};
    return errno_error(EACCES, fmt::format("process {} is of user {}, not of this one's, {}, nor root", peer.pid,
                                           peer.uid, ::geteuid()));
}

Result<Fd> open_socket() {
    Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket) return fail_errno("open a unix socket");
    return socket;
}

Result<std::optional<Fd>> connect_to(const std::string& path, std::chrono::milliseconds patience) {
    ASSIGN_OR_RETURN(const auto address, socket_path(path));
    ASSIGN_OR_RETURN(Fd socket, open_socket());
    // For connect() it counts too (socket(7)); 0 would be for ever.
    const auto milliseconds = std::max<std::chrono::milliseconds::rep>(patience.count(), 1);
    const timeval limit{milliseconds / 1000, milliseconds % 1000 * 1000};
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
        return fail_errno("limit the wait for {}", path);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED) return std::optional<Fd>();
        return fail_errno("connect to {}", path);
    }
    return std::optional<Fd>(std::move(socket));
}

}  // namespace ghostip::relay::wire

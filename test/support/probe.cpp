#include "support/probe.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
// After the headers of libc, with which it shares definitions.
#include <linux/errqueue.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>

#include <fmt/format.h>

namespace ghostip::testnet {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kAtOnce = 64;    // probes started between two looks at the answers
constexpr std::size_t kPerRun = 2000;  // probes in flight

int domain(net::Family family) { return family == net::Family::kIpv4 ? AF_INET : AF_INET6; }

void set_option(const Fd& fd, int level, int name, int value) {
    ::setsockopt(fd.get(), level, name, &value, sizeof(value));
}

Result<Fd> open_socket(const Namespace& where, net::Family family, int type, int protocol) {
    const auto inside = where.enter();
    Fd fd{::socket(domain(family), type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol)};
    if (!fd) return fail_errno("socket");
    if (family == net::Family::kIpv6) set_option(fd, SOL_IPV6, IPV6_V6ONLY, 1);
    return fd;
}

void want_errors(const Fd& fd, net::Family family) {
    if (family == net::Family::kIpv4)
        set_option(fd, SOL_IP, IP_RECVERR, 1);
    else
        set_option(fd, SOL_IPV6, IPV6_RECVERR, 1);
}

void want_packet_info(const Fd& fd, net::Family family) {
    if (family == net::Family::kIpv4)
        set_option(fd, SOL_IP, IP_PKTINFO, 1);
    else
        set_option(fd, SOL_IPV6, IPV6_RECVPKTINFO, 1);
}

bool is_port_unreachable(const sock_extended_err& error) {
    if (error.ee_origin == SO_EE_ORIGIN_ICMP)
        return error.ee_type == ICMP_UNREACH && error.ee_code == ICMP_UNREACH_PORT;
    if (error.ee_origin == SO_EE_ORIGIN_ICMP6)
        return error.ee_type == ICMP6_DST_UNREACH && error.ee_code == ICMP6_DST_UNREACH_NOPORT;
    return false;
}

std::string describe(const sock_extended_err& error) {
    if (error.ee_origin != SO_EE_ORIGIN_ICMP && error.ee_origin != SO_EE_ORIGIN_ICMP6)
        return errno_text(static_cast<int>(error.ee_errno));
    return fmt::format("ICMP{} type {} code {}", error.ee_origin == SO_EE_ORIGIN_ICMP6 ? "v6" : "", error.ee_type,
                       error.ee_code);
}

// One datagram and how it was addressed.
struct Datagram {
    std::array<std::uint8_t, 2048> bytes;
    std::size_t size = 0;
    SocketAddress from;
    std::optional<net::IpAddress> to;
    std::optional<sock_extended_err> error;
};

bool receive(int fd, Datagram& datagram, int flags) {
    alignas(cmsghdr) std::array<char, 512> control;
    iovec vector{datagram.bytes.data(), datagram.bytes.size()};
    msghdr message{};
    message.msg_name = &datagram.from.storage;
    message.msg_namelen = sizeof(datagram.from.storage);
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto got = ::recvmsg(fd, &message, flags);
    if (got < 0) return false;
    datagram.size = static_cast<std::size_t>(got);
    datagram.from.length = message.msg_namelen;
    datagram.to.reset();
    datagram.error.reset();
    for (auto* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_PKTINFO) {
            in_pktinfo info;
            std::memcpy(&info, CMSG_DATA(c), sizeof(info));
            datagram.to =
                net::IpAddress::from_bytes(net::Family::kIpv4, reinterpret_cast<const std::uint8_t*>(&info.ipi_addr));
        } else if (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            in6_pktinfo info;
            std::memcpy(&info, CMSG_DATA(c), sizeof(info));
            datagram.to =
                net::IpAddress::from_bytes(net::Family::kIpv6, reinterpret_cast<const std::uint8_t*>(&info.ipi6_addr));
        } else if ((c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) ||
                   (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
            sock_extended_err error;
            std::memcpy(&error, CMSG_DATA(c), sizeof(error));
            datagram.error = error;
        }
    }
    return true;
}

// Sends from a chosen source address, with a mark unless 0.
bool send_from(int fd, const void* bytes, std::size_t size, const net::IpAddress& from, const SocketAddress& to,
               std::uint32_t mark) {
    alignas(cmsghdr) std::array<char, 256> control{};
    iovec vector{const_cast<void*>(bytes), size};
    SocketAddress target = to;
    msghdr message{};
    message.msg_name = target.raw();
    message.msg_namelen = target.length;
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    auto* c = CMSG_FIRSTHDR(&message);
    std::size_t used = 0;
    if (from.is_ipv4()) {
        in_pktinfo info{};
        std::memcpy(&info.ipi_spec_dst, from.bytes().data(), 4);
        c->cmsg_level = SOL_IP;
        c->cmsg_type = IP_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof(info));
        std::memcpy(CMSG_DATA(c), &info, sizeof(info));
        used = CMSG_SPACE(sizeof(info));
    } else {
        in6_pktinfo info{};
        std::memcpy(&info.ipi6_addr, from.bytes().data(), 16);
        c->cmsg_level = SOL_IPV6;
        c->cmsg_type = IPV6_PKTINFO;
        c->cmsg_len = CMSG_LEN(sizeof(info));
        std::memcpy(CMSG_DATA(c), &info, sizeof(info));
        used = CMSG_SPACE(sizeof(info));
    }
    if (mark != 0) {
        c = reinterpret_cast<cmsghdr*>(control.data() + used);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SO_MARK;
        c->cmsg_len = CMSG_LEN(sizeof(mark));
        std::memcpy(CMSG_DATA(c), &mark, sizeof(mark));
        used += CMSG_SPACE(sizeof(mark));
    }
    message.msg_controllen = used;
    return ::sendmsg(fd, &message, MSG_NOSIGNAL) >= 0;
}

int raw_key(Place place, net::Family family) { return static_cast<int>(place) * 10 + static_cast<int>(family); }

}  // namespace

std::string Probe::text() const {
    return fmt::format("{} {} -> {}/{}{}", place_name(from), source.text(), net::host_port(destination, port),
                       net::protocol_name(protocol), mark == 0 ? "" : fmt::format(" mark {:#x}", mark));
}

std::string_view seen_name(Seen seen) {
    switch (seen) {
        case Seen::kAnswered: return "answered";
        case Seen::kRejected: return "rejected";
        case Seen::kDropped: return "dropped";
        case Seen::kReset: return "reset";
        case Seen::kError: return "error";
    }
    return "?";
}

std::string Outcome::text() const {
    std::string text(seen_name(seen));
    if (seen == Seen::kAnswered)
        text += fmt::format(" by {} in {}, which saw {}", net::host_port(endpoint, endpoint_port), place_name(place),
                            source.text());
    else if (arrived)
        text += fmt::format(", although it reached {} in {}, which saw {}, and answered",
                            net::host_port(endpoint, endpoint_port), place_name(place), source.text());
    if (!detail.empty()) text += fmt::format(" ({})", detail);
    return text;
}

Result<std::unique_ptr<ProbeEngine>> ProbeEngine::create(const Topology& topology) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = std::max<rlim_t>(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, 16384));
    ::setrlimit(RLIMIT_NOFILE, &limit);
    auto engine = std::unique_ptr<ProbeEngine>(new ProbeEngine(topology));
    engine->epoll_ = Fd{::epoll_create1(EPOLL_CLOEXEC)};
    if (!engine->epoll_) return fail_errno("epoll_create1");
    RETURN_IF_ERROR(engine->open_raw_sockets());
    return engine;
}

ProbeEngine::~ProbeEngine() = default;

Result<void> ProbeEngine::open_raw_sockets() {
    for (const auto place : kPlaces)
        for (const auto family : net::kFamilies) {
            ASSIGN_OR_RETURN(Fd fd, open_socket(topology_.at(place), family, SOCK_RAW, IPPROTO_SCTP));
            want_packet_info(fd, family);
            want_errors(fd, family);
            set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
            raw_[raw_key(place, family)] = &watch(Kind::kSctp, place, family, std::move(fd), EPOLLIN);
        }
    return {};
}

Result<void> ProbeEngine::listen(const std::set<std::uint16_t>& ports) {
    for (const auto port : ports) {
        if (!ports_.insert(port).second) continue;
        for (const auto place : kPlaces)
            for (const auto family : net::kFamilies) {
                const SocketAddress any(net::IpAddress(family), port);
                ASSIGN_OR_RETURN(Fd tcp, open_socket(topology_.at(place), family, SOCK_STREAM, 0));
                set_option(tcp, SOL_SOCKET, SO_REUSEADDR, 1);
                if (::bind(tcp.get(), any.raw(), any.length) != 0 || ::listen(tcp.get(), 4096) != 0)
                    return fail_errno("listen on TCP port {} in {}", port, place_name(place));
                watch(Kind::kTcpListener, place, family, std::move(tcp), EPOLLIN);

                ASSIGN_OR_RETURN(Fd udp, open_socket(topology_.at(place), family, SOCK_DGRAM, 0));
                want_packet_info(udp, family);
                set_option(udp, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
                if (::bind(udp.get(), any.raw(), any.length) != 0)
                    return fail_errno("listen on UDP port {} in {}", port, place_name(place));
                watch(Kind::kUdpServer, place, family, std::move(udp), EPOLLIN);
            }
    }
    return {};
}

ProbeEngine::Handle& ProbeEngine::watch(Kind kind, Place place, net::Family family, Fd fd, std::uint32_t events) {
    const auto number = static_cast<std::size_t>(fd.get());
    if (handles_.size() <= number) handles_.resize(number + 1);
    handles_[number] =
        std::make_unique<Handle>(Handle{kind, place, family, 0, ++generation_, false, {}, std::move(fd)});
    epoll_event event{};
    event.events = events;
    event.data.u64 = static_cast<std::uint64_t>(generation_) << 32 | number;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, static_cast<int>(number), &event);
    return *handles_[number];
}

void ProbeEngine::close(int fd) { handles_[static_cast<std::size_t>(fd)].reset(); }

Result<std::vector<Outcome>> ProbeEngine::run_in_turn(const std::vector<Probe>& probes, milliseconds quiet) {
    std::vector<Outcome> all;
    for (const auto& probe : probes) {
        ASSIGN_OR_RETURN(auto one, run({probe}, quiet));
        all.push_back(std::move(one.front()));
    }
    return all;
}

Result<std::vector<Outcome>> ProbeEngine::run(const std::vector<Probe>& probes, milliseconds quiet) {
    if (probes.size() > kPerRun) {
        std::vector<Outcome> all;
        for (std::size_t from = 0; from < probes.size(); from += kPerRun) {
            const auto to = std::min(from + kPerRun, probes.size());
            ASSIGN_OR_RETURN(auto part, run({probes.begin() + static_cast<std::ptrdiff_t>(from),
                                             probes.begin() + static_cast<std::ptrdiff_t>(to)},
                                            quiet));
            std::move(part.begin(), part.end(), std::back_inserter(all));
        }
        return all;
    }
    ++run_;
    probes_ = &probes;
    outcomes_.assign(probes.size(), Outcome{});
    open_.assign(probes.size(), true);
    open_count_ = probes.size();
    sctp_probes_.clear();

    for (std::size_t i = 0; i < probes.size(); ++i) {
        RETURN_IF_ERROR(start(i));
        if (i % kAtOnce == kAtOnce - 1)
            while (pump(milliseconds(0)) > 0) {
            }
    }
    while (open_count_ > 0 && pump(quiet) > 0) {
    }
    // Sockets stay open until here, so that no probe of the run gets a source port that another one had.
    for (const int fd : client_fds_) close(fd);
    client_fds_.clear();
    while (pump(milliseconds(0)) > 0) {
    }
    probes_ = nullptr;
    return std::move(outcomes_);
}

Result<void> ProbeEngine::start(std::size_t index) {
    const Probe& probe = (*probes_)[index];
    if (probe.protocol == net::Protocol::kSctp) return start_sctp(index);
    const auto family = probe.destination.family();
    const bool tcp = probe.protocol == net::Protocol::kTcp;
    ASSIGN_OR_RETURN(Fd fd, open_socket(topology_.at(probe.from), family, tcp ? SOCK_STREAM : SOCK_DGRAM, 0));
    want_errors(fd, family);
    if (probe.mark != 0 && ::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &probe.mark, sizeof(probe.mark)) != 0)
        return fail_errno("set SO_MARK");
    if (tcp) {
        // Closing says RST: no TIME-WAIT is left behind.
        const linger at_once{1, 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        set_option(fd, SOL_TCP, TCP_NODELAY, 1);
    }
    const SocketAddress source(probe.source, 0);
    if (::bind(fd.get(), source.raw(), source.length) != 0) return fail_errno("{}: bind", probe.text());
    auto& outcome = outcomes_[index];
    SocketAddress own;
    own.length = sizeof(own.storage);
    ::getsockname(fd.get(), own.raw(), &own.length);
    outcome.sent_from_port = own.port();

    auto& client = watch(tcp ? Kind::kTcpClient : Kind::kUdpClient, probe.from, family, std::move(fd),
                         tcp ? EPOLLIN | EPOLLOUT | EPOLLRDHUP : EPOLLIN);
    client.probe = index;
    client_fds_.push_back(client.fd.get());
    const SocketAddress target(probe.destination, probe.port);
    if (::connect(client.fd.get(), target.raw(), target.length) != 0 && errno != EINPROGRESS) {
        outcome.detail = fmt::format("connect: {}", errno_text(errno));
        read_errors(client);
        if (pending(index) && tcp) settle(index, Seen::kError, outcome.detail);
        return {};
    }
    if (!tcp) {
        const auto request = Request{nonce(index)}.encode();
        // EPERM: dropped on the way out. Whether it was rejected, the error queue tells.
        if (::send(client.fd.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0)
            outcome.detail = fmt::format("send: {}", errno_text(errno));
    }
    return {};
}

Result<void> ProbeEngine::start_sctp(std::size_t index) {
    const Probe& probe = (*probes_)[index];
    sctp::Packet init;
    init.source_port = next_sctp_port_;
    next_sctp_port_ = next_sctp_port_ == 60999 ? 33000 : static_cast<std::uint16_t>(next_sctp_port_ + 1);
    init.destination_port = probe.port;
    init.chunk = sctp::Chunk::kInit;
    // The tag must tell the run, too: late packets of an earlier one are not ours. Never zero.
    init.initiate_tag = static_cast<std::uint32_t>((run_ & 0xffff) << 16 | (index + 1));
    sctp_probes_[init.source_port] = index;
    outcomes_[index].sent_from_port = init.source_port;
    const auto bytes = init.encode();
    const Handle& raw = *raw_.at(raw_key(probe.from, probe.destination.family()));
    if (!send_from(raw.fd.get(), bytes.data(), bytes.size(), probe.source, SocketAddress(probe.destination, 0),
                   probe.mark))
        outcomes_[index].detail = fmt::format("send: {}", errno_text(errno));
    return {};
}

std::size_t ProbeEngine::pump(milliseconds timeout) {
    std::array<epoll_event, 256> events;
    const int got =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), static_cast<int>(timeout.count()));
    if (got < 0) return errno == EINTR ? 1 : 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
        const auto fd = static_cast<std::size_t>(events[i].data.u64 & 0xffffffff);
        // The handle may have gone, and its number been given away, while earlier events of this batch were served.
        if (fd < handles_.size() && handles_[fd] && handles_[fd]->generation == events[i].data.u64 >> 32)
            serve(*handles_[fd], events[i].events);
    }
    return static_cast<std::size_t>(got);
}

void ProbeEngine::serve(Handle& handle, std::uint32_t events) {
    switch (handle.kind) {
        case Kind::kTcpListener: accept_all(handle); break;
        case Kind::kTcpServer: serve_tcp(handle); break;
        case Kind::kUdpServer: serve_udp(handle); break;
        case Kind::kSctp:
            if ((events & EPOLLERR) != 0) read_errors(handle);
            serve_sctp(handle);
            break;
        case Kind::kTcpClient: continue_tcp(handle, events); break;
        case Kind::kUdpClient: continue_udp(handle, events); break;
    }
}

void ProbeEngine::accept_all(Handle& listener) {
    const auto place = listener.place;
    const auto family = listener.family;
    const int listening = listener.fd.get();
    while (true) {
        Fd fd{::accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
        if (!fd) return;
        const linger at_once{1, 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        watch(Kind::kTcpServer, place, family, std::move(fd), EPOLLIN);
    }
}

void ProbeEngine::serve_tcp(Handle& server) {
    const int fd = server.fd.get();
    std::array<char, 256> buffer;
    const auto got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) return close(fd);
    server.buffer.append(buffer.data(), static_cast<std::size_t>(got));
    const auto request =
        Request::decode({reinterpret_cast<const std::uint8_t*>(server.buffer.data()), server.buffer.size()});
    if (!request) return;
    SocketAddress own;
    SocketAddress peer;
    own.length = peer.length = sizeof(own.storage);
    ::getsockname(fd, own.raw(), &own.length);
    ::getpeername(fd, peer.raw(), &peer.length);
    const Answer answer{request->nonce, static_cast<std::uint8_t>(server.place),
                        own.address(),  own.port(),
                        peer.address(), peer.port()};
    arrived(answer);
    const auto bytes = answer.encode();
    // 64 bytes into an empty socket buffer are taken whole; if not, the probe shows up as dropped.
    (void)!::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    server.buffer.clear();
}

void ProbeEngine::serve_udp(Handle& server) {
    Datagram datagram;
    SocketAddress own;
    own.length = sizeof(own.storage);
    ::getsockname(server.fd.get(), own.raw(), &own.length);
    while (receive(server.fd.get(), datagram, 0)) {
        const auto request = Request::decode({datagram.bytes.data(), datagram.size});
        if (!request || !datagram.to) continue;
        const Answer answer{request->nonce,
                            static_cast<std::uint8_t>(server.place),
                            *datagram.to,
                            own.port(),
                            datagram.from.address(),
                            datagram.from.port()};
        arrived(answer);
        const auto bytes = answer.encode();
        send_from(server.fd.get(), bytes.data(), bytes.size(), *datagram.to, datagram.from, 0);
    }
}

void ProbeEngine::serve_sctp(Handle& raw) {
    Datagram datagram;
    while (receive(raw.fd.get(), datagram, 0)) {
        std::span<const std::uint8_t> bytes(datagram.bytes.data(), datagram.size);
        // IPv4 raw sockets hand over the IP header, too.
        if (raw.family == net::Family::kIpv4)
            bytes = bytes.subspan(std::min<std::size_t>(bytes.size(), (bytes[0] & 0xfU) * 4U));
        const auto packet = sctp::Packet::decode(bytes);
        if (!packet || !datagram.to) continue;
        if (packet->chunk == sctp::Chunk::kInit) {
            answer_sctp(raw, *packet, *datagram.to, datagram.from.address());
            continue;
        }
        const auto found = sctp_probes_.find(packet->destination_port);
        if (packet->chunk != sctp::Chunk::kInitAck || found == sctp_probes_.end() || !pending(found->second)) continue;
        const Probe& probe = (*probes_)[found->second];
        const auto answer =
            Answer::decode({reinterpret_cast<const std::uint8_t*>(packet->cookie.data()), packet->cookie.size()});
        // Only an answer from where the probe went finds its association.
        if (!answer || probe.from != raw.place || datagram.from.address() != probe.destination ||
            packet->source_port != probe.port)
            continue;
        settle_answer(found->second, *answer);
    }
}

void ProbeEngine::answer_sctp(Handle& raw, const sctp::Packet& init, const net::IpAddress& to,
                              const net::IpAddress& from) {
    const auto index = (init.initiate_tag & 0xffff) - 1;
    if (init.initiate_tag >> 16 != (run_ & 0xffff)) return;
    const Answer answer{nonce(index),    static_cast<std::uint8_t>(raw.place), to, init.destination_port, from,
                        init.source_port};
    arrived(answer);
    const auto cookie = answer.encode();
    sctp::Packet ack;
    ack.source_port = init.destination_port;
    ack.destination_port = init.source_port;
    ack.verification_tag = init.initiate_tag;
    ack.initiate_tag = init.initiate_tag;
    ack.chunk = sctp::Chunk::kInitAck;
    ack.cookie = std::string(cookie.begin(), cookie.end());
    const auto bytes = ack.encode();
    send_from(raw.fd.get(), bytes.data(), bytes.size(), to, SocketAddress(from, 0), 0);
}

void ProbeEngine::continue_tcp(Handle& client, std::uint32_t events) {
    const int fd = client.fd.get();
    const auto index = client.probe;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        read_errors(client);
        int error = 0;
        socklen_t length = sizeof(error);
        ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (pending(index) && error != 0)
            settle(index, error == ECONNREFUSED || error == ECONNRESET ? Seen::kReset : Seen::kError,
                   errno_text(error));
    }
    if (!pending(index)) {
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
        return;
    }
    if ((events & EPOLLOUT) != 0 && !client.greeted) {
        client.greeted = true;
        epoll_event event{};
        event.events = EPOLLIN | EPOLLRDHUP;
        event.data.u64 = static_cast<std::uint64_t>(client.generation) << 32 | static_cast<std::uint32_t>(fd);
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
        const auto request = Request{nonce(index)}.encode();
        (void)!::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
    }
    if ((events & (EPOLLIN | EPOLLRDHUP)) == 0) return;
    std::array<char, 256> buffer;
    const auto got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        settle(index, Seen::kReset, got == 0 ? "closed without an answer" : errno_text(errno));
        return;
    }
    client.buffer.append(buffer.data(), static_cast<std::size_t>(got));
    const auto answer =
        Answer::decode({reinterpret_cast<const std::uint8_t*>(client.buffer.data()), client.buffer.size()});
    if (answer) settle_answer(index, *answer);
}

void ProbeEngine::continue_udp(Handle& client, std::uint32_t events) {
    if ((events & EPOLLERR) != 0) read_errors(client);
    Datagram datagram;
    while (receive(client.fd.get(), datagram, 0))
        if (const auto answer = Answer::decode({datagram.bytes.data(), datagram.size}); answer && pending(client.probe))
            settle_answer(client.probe, *answer);
}

// ICMP errors with what they are about. A raw socket gets those of all its probes.
void ProbeEngine::read_errors(Handle& handle) {
    Datagram datagram;
    while (receive(handle.fd.get(), datagram, MSG_ERRQUEUE)) {
        if (!datagram.error) continue;
        auto index = handle.probe;
        if (handle.kind == Kind::kSctp) {
            if (datagram.size < 4) continue;
            const auto port = static_cast<std::uint16_t>(datagram.bytes[0] << 8 | datagram.bytes[1]);
            const auto found = sctp_probes_.find(port);
            if (found == sctp_probes_.end() || (*probes_)[found->second].from != handle.place) continue;
            index = found->second;
        }
        if (!pending(index)) continue;
        if (is_port_unreachable(*datagram.error))
            settle(index, Seen::kRejected);
        else
            settle(index, Seen::kError, describe(*datagram.error));
    }
}

// Whoever took it is worth knowing even if the answer never comes back.
void ProbeEngine::arrived(const Answer& answer) {
    const auto index = static_cast<std::size_t>(answer.nonce & 0xffffffff);
    if (answer.nonce >> 32 != run_ || !pending(index)) return;
    auto& outcome = outcomes_[index];
    outcome.arrived = true;
    outcome.place = static_cast<Place>(answer.place);
    outcome.endpoint = answer.endpoint;
    outcome.endpoint_port = answer.endpoint_port;
    outcome.source = answer.source;
    outcome.source_port = answer.source_port;
}

void ProbeEngine::settle_answer(std::size_t index, const Answer& answer) {
    if (answer.nonce != nonce(index) || !pending(index)) return;
    arrived(answer);
    settle(index, Seen::kAnswered);
}

void ProbeEngine::settle(std::size_t index, Seen seen, std::string detail) {
    if (!pending(index)) return;
    outcomes_[index].seen = seen;
    outcomes_[index].detail = std::move(detail);
    open_[index] = false;
    --open_count_;
}

}  // namespace ghostip::testnet

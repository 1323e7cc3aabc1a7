#include "packets/echo.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "support/wire.h"

namespace ghostip::packets {
namespace {

using Clock = std::chrono::steady_clock;

// A message is a number; its answer is that number and the address that it was sent to.
constexpr std::size_t kQuestion = 8;
constexpr std::size_t kAnswer = 24;
using Answer = std::array<std::uint8_t, kAnswer>;

constexpr timespec kLookAgain{0, 50'000'000};
constexpr std::chrono::seconds kConnectWithin(5);

int domain(net::Family family) { return family == net::Family::kIpv4 ? AF_INET : AF_INET6; }

Answer answer_to(const std::uint8_t* question, const net::IpAddress& asked) {
    Answer answer{};
    std::memcpy(answer.data(), question, kQuestion);
    std::memcpy(answer.data() + kQuestion, asked.bytes().data(), asked.bytes().size());
    return answer;
}

// Makes a packet information of what was received one for what is to be sent: from that address, by any interface.
net::IpAddress turn_around(msghdr& message, net::Family family) {
    auto* info = CMSG_DATA(CMSG_FIRSTHDR(&message));
    if (family == net::Family::kIpv6) {
        in6_pktinfo v6{};
        std::memcpy(&v6, info, sizeof v6);
        v6.ipi6_ifindex = 0;
        std::memcpy(info, &v6, sizeof v6);
        return net::IpAddress::from_bytes(family, reinterpret_cast<const std::uint8_t*>(&v6.ipi6_addr));
    }
    in_pktinfo v4{};
    std::memcpy(&v4, info, sizeof v4);
    v4.ipi_ifindex = 0;
    v4.ipi_spec_dst = v4.ipi_addr;
    std::memcpy(info, &v4, sizeof v4);
    return net::IpAddress::from_bytes(family, reinterpret_cast<const std::uint8_t*>(&v4.ipi_addr));
}

}  // namespace

Result<std::unique_ptr<EchoServer>> EchoServer::start(const testnet::Namespace& where, net::Family family,
                                                      std::uint16_t port) {
    const auto inside = where.enter();
    Fd listener{::socket(domain(family), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    Fd datagrams{::socket(domain(family), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!listener || !datagrams) return fail_errno("socket");
    const int on = 1;
    const bool ipv4 = family == net::Family::kIpv4;
    ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ::setsockopt(datagrams.get(), ipv4 ? SOL_IP : SOL_IPV6, ipv4 ? IP_PKTINFO : IPV6_RECVPKTINFO, &on, sizeof on);
    const testnet::SocketAddress any(net::IpAddress(family), port);
    for (const auto* fd : {&listener, &datagrams})
        if (::bind(fd->get(), any.raw(), any.length) != 0) return fail_errno("bind port {}", port);
    if (::listen(listener.get(), 1024) != 0) return fail_errno("listen on port {}", port);
    return std::unique_ptr<EchoServer>(new EchoServer(family, std::move(listener), std::move(datagrams)));
}

EchoServer::EchoServer(net::Family family, Fd listener, Fd datagrams)
    : family_(family), listener_(std::move(listener)), datagrams_(std::move(datagrams)), thread_([this] { serve(); }) {}

EchoServer::~EchoServer() {
    stop_ = true;
    thread_.join();
}

void EchoServer::serve() {
    while (!stop_) {
        std::vector<pollfd> fds{{listener_.get(), POLLIN, 0}, {datagrams_.get(), POLLIN, 0}};
        for (const auto& connection : connections_) fds.push_back({connection.get(), POLLIN, 0});
        if (::ppoll(fds.data(), fds.size(), &kLookAgain, nullptr) <= 0) continue;
        std::vector<Fd> stay;
        for (std::size_t i = 0; i < connections_.size(); ++i)
            if (fds[i + 2].revents == 0 || answer_stream(connections_[i])) stay.push_back(std::move(connections_[i]));
        connections_ = std::move(stay);
        if (fds[1].revents != 0) answer_datagrams();
        if (fds[0].revents == 0) continue;
        Fd connection{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        if (connection) connections_.push_back(std::move(connection));
    }
}

bool EchoServer::answer_stream(const Fd& connection) const {
    std::array<std::uint8_t, kQuestion> question{};
    // Clients wait for each answer, so a message is never split.
    if (::recv(connection.get(), question.data(), question.size(), 0) != static_cast<ssize_t>(kQuestion)) return false;
    testnet::SocketAddress own;
    own.length = sizeof(own.storage);
    ::getsockname(connection.get(), own.raw(), &own.length);
    const auto answer = answer_to(question.data(), own.address());
    return ::send(connection.get(), answer.data(), answer.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(kAnswer);
}

void EchoServer::answer_datagrams() {
    constexpr int kAtOnce = 64;
    for (int i = 0; i < kAtOnce; ++i) {
        std::array<std::uint8_t, kAnswer> bytes{};
        alignas(cmsghdr) std::array<char, 128> control{};
        testnet::SocketAddress from;
        iovec vector{bytes.data(), bytes.size()};
        msghdr message{};
        message.msg_name = from.raw();
        message.msg_namelen = sizeof from.storage;
        message.msg_iov = &vector;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const auto got = ::recvmsg(datagrams_.get(), &message, 0);
        if (got < 0) return;
        if (got != static_cast<ssize_t>(kQuestion) || CMSG_FIRSTHDR(&message) == nullptr) continue;
        auto answer = answer_to(bytes.data(), turn_around(message, family_));
        vector = {answer.data(), answer.size()};
        (void)!::sendmsg(datagrams_.get(), &message, MSG_NOSIGNAL);
    }
}

Result<EchoClient> EchoClient::open(const testnet::Namespace& where, net::Protocol protocol,
                                    const net::IpAddress& source, const net::IpAddress& destination,
                                    std::uint16_t port) {
    const auto inside = where.enter();
    const bool tcp = protocol == net::Protocol::kTcp;
    Fd fd{::socket(domain(source.family()), (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0)};
    if (!fd) return fail_errno("socket");
    const timeval patience{kConnectWithin.count(), 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    const int on = 1;
    if (tcp) ::setsockopt(fd.get(), SOL_TCP, TCP_NODELAY, &on, sizeof on);
    const testnet::SocketAddress from(source, 0);
    const testnet::SocketAddress to(destination, port);
    if (::bind(fd.get(), from.raw(), from.length) != 0) return fail_errno("bind {}", source.text());
    if (::connect(fd.get(), to.raw(), to.length) != 0)
        return fail_errno("connect to {}", net::host_port(destination, port));
    return EchoClient(source.family(), std::move(fd));
}

Result<net::IpAddress> EchoClient::ask(std::chrono::milliseconds patience) {
    const std::uint64_t number = ++sequence_;
    if (::send(fd_.get(), &number, sizeof number, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof number))
        return fail_errno("send");
    const auto deadline = Clock::now() + patience;
    while (true) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        pollfd waiting{fd_.get(), POLLIN, 0};
        if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) == 0)
            return fail("no answer to message {} in {} ms", number, patience.count());
        Answer answer{};
        const auto got = ::recv(fd_.get(), answer.data(), answer.size(), 0);
        if (got < 0) return fail_errno("receive the answer to message {}", number);
        if (got != static_cast<ssize_t>(kAnswer)) return fail("the connection ended");
        // A datagram's late answer belongs to an earlier message.
        if (std::memcmp(answer.data(), &number, sizeof number) != 0) continue;
        return net::IpAddress::from_bytes(family_, answer.data() + kQuestion);
    }
}

}  // namespace ghostip::packets

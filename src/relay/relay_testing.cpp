#include "relay/relay_testing.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include <gtest/gtest.h>

namespace ghostip::relay::testing {
namespace {

constexpr int kStopLook = 50;  // milliseconds
constexpr int kDatagramsOfOne = 16;

bool readable(int socket, int milliseconds) {
    pollfd wanted{socket, POLLIN, 0};
    return ::poll(&wanted, 1, milliseconds) > 0;
}

void limit_waits(int socket) {
    const timeval limit{kLongest.count(), 0};
    ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

}  // namespace

SocketAddress loopback(net::Family family, std::uint16_t port) {
    return {*net::IpAddress::parse(family == net::Family::kIpv4 ? "127.0.0.1" : "::1"), port};
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds longest) {
    const auto end = std::chrono::steady_clock::now() + longest;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

Bound bind_free(int type, net::Family family, int backlog) {
    Bound bound;
    bound.socket = Fd(::socket(family == net::Family::kIpv4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0));
    const KernelAddress address(loopback(family));
    EXPECT_EQ(::bind(bound.socket.get(), address.get(), address.size), 0);
    if (type == SOCK_STREAM && backlog >= 0) {
        EXPECT_EQ(::listen(bound.socket.get(), backlog), 0);
    }
    limit_waits(bound.socket.get());
    bound.address = own_address(bound.socket.get()).value();
    return bound;
}

Bound dead_port(int type) {
    // A bound TCP socket that does not listen answers with a reset; for UDP nobody may have the port.
    auto bound = bind_free(type, net::Family::kIpv4, -1);
    if (type == SOCK_DGRAM) bound.socket.reset();
    return bound;
}

Silent silent_port() {
    Silent silent;
    silent.listener = bind_free(SOCK_STREAM, net::Family::kIpv4, 0);
    const KernelAddress to(silent.listener.address);
    // Two are taken: the backlog of 0 has room for one, and one more is let through. The third gets no answer.
    for (int i = 0; i < 3; ++i) {
        Fd filler(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        static_cast<void>(::connect(filler.get(), to.get(), to.size));
        pollfd wanted{filler.get(), POLLOUT, 0};
        ::poll(&wanted, 1, 100);
        silent.fillers.push_back(std::move(filler));
    }
    return silent;
}

Fd connect_to(const SocketAddress& address, int type) {
    Fd socket(::socket(address.address.is_ipv4() ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0));
    limit_waits(socket.get());
    const KernelAddress to(address);
    if (::connect(socket.get(), to.get(), to.size) < 0) socket.reset();
    return socket;
}

std::vector<Fd> connect_many(const SocketAddress& address, std::size_t count) {
    std::vector<Fd> sockets(count);
    for (auto& socket : sockets) socket = connect_to(address);
    return sockets;
}

Fd accept_one(const Fd& listener) {
    Fd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket) limit_waits(socket.get());
    return socket;
}

bool send_all(const Fd& socket, std::string_view bytes) {
    while (!bytes.empty()) {
        const auto sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

std::string receive(const Fd& socket, std::size_t most) {
    std::string bytes(most, '\0');
    std::size_t size = 0;
    while (size < most) {
        const auto got = ::recv(socket.get(), bytes.data() + size, most - size, 0);
        if (got <= 0) break;
        size += static_cast<std::size_t>(got);
    }
    bytes.resize(size);
    return bytes;
}

Ending ending(const Fd& socket, std::chrono::milliseconds longest) {
    std::array<char, 65536> buffer{};
    const auto end = std::chrono::steady_clock::now() + longest;
    for (;;) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
        if (left <= 0 || !readable(socket.get(), static_cast<int>(left))) return Ending::kNone;
        const auto got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (got == 0) return Ending::kEnd;
        if (got < 0) return errno == ECONNRESET ? Ending::kReset : Ending::kNone;
    }
}

void close_with_reset(Fd& socket) {
    const linger at_once{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    socket.reset();
}

std::string pattern(std::size_t size, unsigned seed) {
    std::string bytes(size, '\0');
    std::uint32_t state = seed * 2654435761U + 1;
    for (auto& byte : bytes) {
        state = state * 1664525U + 1013904223U;
        byte = static_cast<char>(state >> 24U);
    }
    return bytes;
}

NamedServer::NamedServer(char name, net::Family family) : bound_(bind_free(SOCK_STREAM, family)), name_(name) {
    thread_ = std::thread([this] {
        while (!stop_) {
            if (!readable(bound_.socket.get(), kStopLook)) continue;
            const Fd client = accept_one(bound_.socket);
            if (!client) continue;
            ++served_;
            (void)send_all(client, std::string(1, name_));
        }
    });
}

NamedServer::~NamedServer() {
    stop_ = true;
    thread_.join();
}

NamedUdpServer::NamedUdpServer(char name, net::Family family) : bound_(bind_free(SOCK_DGRAM, family)), name_(name) {
    thread_ = std::thread([this] {
        std::vector<char> buffer(65536);
        buffer[0] = name_;
        while (!stop_) {
            if (!readable(bound_.socket.get(), kStopLook)) continue;
            KernelAddress from;
            const auto got =
                ::recvfrom(bound_.socket.get(), buffer.data() + 1, buffer.size() - 1, 0, from.get(), &from.size);
            if (got < 0) continue;
            // The largest datagram has no room for the name.
            const auto size = std::min<std::size_t>(static_cast<std::size_t>(got) + 1, 65507);
            ::sendto(bound_.socket.get(), buffer.data(), size, 0, from.get(), from.size);
        }
    });
}

NamedUdpServer::~NamedUdpServer() {
    stop_ = true;
    thread_.join();
}

Stream::Stream(const SocketAddress& address, net::Protocol protocol) {
    for (int i = 0; i < 4; ++i)
        threads_.emplace_back([this, address, protocol] {
            while (!stop_) {
                const bool udp = protocol == net::Protocol::kUdp;
                const Fd client = connect_to(address, udp ? SOCK_DGRAM : SOCK_STREAM);
                for (int left = udp ? kDatagramsOfOne : 1; left > 0; --left) {
                    const bool answered = client && (!udp || send_all(client, "?")) && receive(client, 1).size() == 1;
                    ++(answered ? answered_ : lost_);
                }
            }
        });
}

void Stream::stop() {
    stop_ = true;
    for (auto& thread : threads_) thread.join();
    threads_.clear();
}

bool Stream::more(int by) const {
    const int before = answered_;
    return eventually([&] { return answered_ >= before + by; });
}

std::string Rig::ask_name() const {
    const Fd client = connect_to(address);
    return client ? receive(client, 1) : std::string();
}

Rig rig(Pool pool, Options options, ListenerSpec spec, ServiceLimits limits) {
    Rig made;
    if (options.threads == 0) options.threads = 2;
    auto relay = Relay::start(options);
    EXPECT_TRUE(relay) << relay.error().message;
    made.relay = std::move(relay).value();
    made.service = made.relay->add_service(std::move(pool), limits);
    if (spec.address == SocketAddress{}) spec.address = loopback();
    spec.service = made.service;
    const auto listener = made.relay->listen(std::move(spec));
    EXPECT_TRUE(listener) << listener.error().message;
    made.listener = *listener;
    made.address = made.relay->address(*listener).value();
    return made;
}

}  // namespace ghostip::relay::testing

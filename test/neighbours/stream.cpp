#include "neighbours/stream.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <vector>

#include "support/wire.h"

namespace ghostip::neighbours {
namespace {

using Clock = std::chrono::steady_clock;

constexpr timeval kPatience{15, 0};  // time for a lost packet to be sent again, more than once
constexpr std::chrono::seconds kFlowsWithin(20);

int domain(net::Family family) { return family == net::Family::kIpv4 ? AF_INET : AF_INET6; }

Result<Fd> tcp_socket(const testnet::Namespace& where, net::Family family) {
    const auto inside = where.enter();
    Fd fd{::socket(domain(family), SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!fd) return fail_errno("socket");
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
    return fd;
}

}  // namespace

Result<std::unique_ptr<EchoServer>> EchoServer::start(const testnet::Namespace& where, net::Family family,
                                                      std::uint16_t port) {
    ASSIGN_OR_RETURN(Fd listener, tcp_socket(where, family));
    const testnet::SocketAddress any(net::IpAddress(family), port);
    if (::bind(listener.get(), any.raw(), any.length) != 0 || ::listen(listener.get(), 128) != 0)
        return fail_errno("listen on port {}", port);
    return std::unique_ptr<EchoServer>(new EchoServer(std::move(listener)));
}

EchoServer::EchoServer(Fd listener) : listener_(std::move(listener)), thread_([this] { serve(); }) {}

EchoServer::~EchoServer() {
    stop_ = true;
    thread_.join();
}

void EchoServer::serve() {
    std::vector<Fd> clients;
    while (!stop_) {
        std::vector<pollfd> fds{{listener_.get(), POLLIN, 0}};
        for (const auto& client : clients) fds.push_back({client.get(), POLLIN, 0});
        if (::poll(fds.data(), fds.size(), 50) <= 0) continue;
        std::vector<Fd> stay;
        for (std::size_t i = 0; i < clients.size(); ++i) {
            std::array<char, 256> bytes{};
            ssize_t got = 1;
            if (fds[i + 1].revents != 0) {
                got = ::recv(clients[i].get(), bytes.data(), bytes.size(), 0);
                if (got > 0) (void)!::send(clients[i].get(), bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
            }
            if (got > 0) stay.push_back(std::move(clients[i]));
        }
        clients = std::move(stay);
        if (fds[0].revents == 0) continue;
        Fd client{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        if (client) clients.push_back(std::move(client));
    }
}

Stream::Stream(const testnet::Namespace& where, const net::IpAddress& source, const net::IpAddress& destination,
               std::uint16_t port)
    : where_(where), source_(source), destination_(destination), port_(port), thread_([this] { run(); }) {}

Stream::~Stream() { (void)end(); }

std::string Stream::end() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return trouble_;
}

bool Stream::flows(int more) const {
    const int echoes = echoes_ + more;
    const int connections = connections_ + more;
    const auto deadline = Clock::now() + kFlowsWithin;
    while (echoes_ < echoes || connections_ < connections) {
        if (failed_ || Clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

Result<Fd> Stream::connect() const {
    ASSIGN_OR_RETURN(Fd fd, tcp_socket(where_, source_.family()));
    const testnet::SocketAddress from(source_, 0);
    const testnet::SocketAddress to(destination_, port_);
    if (::bind(fd.get(), from.raw(), from.length) != 0) return fail_errno("bind");
    if (::connect(fd.get(), to.raw(), to.length) != 0) return fail_errno("connect");
    return fd;
}

std::string Stream::echo_once(const Fd& connection) {
    char byte = 'x';
    if (::send(connection.get(), &byte, 1, MSG_NOSIGNAL) != 1) return fail_errno("send").message;
    const auto got = ::recv(connection.get(), &byte, 1, 0);
    if (got == 1) return {};
    return got == 0 ? "the connection was closed" : fail_errno("receive").message;
}

void Stream::run() {
    auto lasting = connect();
    if (!lasting) trouble_ = "first connection: " + lasting.error().message;
    while (!stop_ && trouble_.empty()) {
        trouble_ = echo_once(*lasting);
        if (!trouble_.empty()) {
            trouble_ = "the lasting connection: " + trouble_;
            break;
        }
        ++echoes_;
        const auto fresh = connect();
        trouble_ = fresh ? echo_once(*fresh) : fresh.error().message;
        if (!trouble_.empty()) {
            trouble_ = "a new connection: " + trouble_;
            break;
        }
        ++connections_;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (!trouble_.empty()) failed_ = true;
}

}  // namespace ghostip::neighbours

#include "bench/relay_load.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>

#include "bench/figures.h"

namespace ghostip::bench {
namespace {

constexpr std::size_t kRequest = 128;
constexpr std::size_t kChunk = std::size_t{256} * 1024;

sockaddr_in kernel_address(const Target& target) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(target.port);
    std::memcpy(&address.sin_addr, target.address.bytes().data(), 4);
    return address;
}

[[noreturn]] void give_up(const char* what) {
    std::fprintf(stderr, "load: %s: %s\n", what, std::strerror(errno));  // NOLINT(concurrency-mt-unsafe)
    std::exit(1);                                                        // NOLINT(concurrency-mt-unsafe)
}

void no_delay(int socket) {
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Fd dial(const Target& to, int flags) {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
    if (!socket) give_up("open a socket");
    no_delay(socket.get());
    const auto address = kernel_address(to);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 &&
        errno != EINPROGRESS)
        give_up("connect");
    return socket;
}

void watch(const Fd& epoll, int fd, std::uint32_t events, std::uint64_t what) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = what;
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) < 0) give_up("epoll_ctl");
}

Exchange summary(std::vector<double> microseconds, Clock::time_point start) {
    Exchange result;
    result.count = static_cast<double>(microseconds.size());
    result.per_second = static_cast<double>(microseconds.size()) * 1000 / milliseconds_since(start);
    result.p50_microseconds = percentile(microseconds, 0.5);
    result.p99_microseconds = percentile(std::move(microseconds), 0.99);
    return result;
}

// One exchange under way.
struct Call {
    Fd socket;
    Clock::time_point start;
    std::size_t got = 0;
};

const std::array<char, kRequest> kQuestion{};

void ask(Call& call) {
    call.start = Clock::now();
    call.got = 0;
    if (::send(call.socket.get(), kQuestion.data(), kQuestion.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(kQuestion.size()))
        give_up("send a request");
}

}  // namespace

LoadServer::LoadServer(const Target& at, Role role)
    : role_(role),
      listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
      stop_(::eventfd(0, EFD_CLOEXEC)) {
    const int on = 1;
    ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    no_delay(listener_.get());
    const auto address = kernel_address(at);
    if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 ||
        ::listen(listener_.get(), 4096) < 0)
        give_up("listen");
    thread_ = std::thread([this] { run(); });
}

LoadServer::~LoadServer() {
    const std::uint64_t one = 1;
    (void)!::write(stop_.get(), &one, sizeof one);
    thread_.join();
}

void LoadServer::run() {
    const Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    watch(epoll, listener_.get(), EPOLLIN, static_cast<std::uint64_t>(listener_.get()));
    watch(epoll, stop_.get(), EPOLLIN, static_cast<std::uint64_t>(stop_.get()));
    std::map<int, Fd> clients;
    std::vector<char> buffer(kChunk);
    std::array<epoll_event, 64> events{};
    for (;;) {
        const int count = ::epoll_wait(epoll.get(), events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < count; ++i) {
            const int fd = static_cast<int>(events[static_cast<std::size_t>(i)].data.u64);
            if (fd == stop_.get()) return;
            if (fd == listener_.get()) {
                for (;;) {
                    Fd client(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
                    if (!client) break;
                    watch(epoll, client.get(), role_ == Role::kSource ? EPOLLOUT : EPOLLIN,
                          static_cast<std::uint64_t>(client.get()));
                    const int number = client.get();
                    clients[number] = std::move(client);
                }
                continue;
            }
            ssize_t moved = 0;
            if (role_ == Role::kSource) {
                moved = ::send(fd, buffer.data(), buffer.size(), MSG_NOSIGNAL);
            } else {
                moved = ::recv(fd, buffer.data(), buffer.size(), 0);
                if (moved > 0) moved = ::send(fd, buffer.data(), static_cast<std::size_t>(moved), MSG_NOSIGNAL);
            }
            const bool over = moved == 0 || (moved < 0 && errno != EAGAIN);
            if (over || role_ == Role::kOneShot) clients.erase(fd);
        }
    }
}

Transfer bulk(const Target& to, int connections, std::chrono::milliseconds duration) {
    const Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    std::vector<Fd> sockets;
    for (int i = 0; i < connections; ++i) {
        sockets.push_back(dial(to, 0));
        watch(epoll, sockets.back().get(), EPOLLIN, static_cast<std::uint64_t>(sockets.back().get()));
    }
    std::array<epoll_event, 64> events{};
    double bytes = 0;
    const auto start = Clock::now();
    while (Clock::now() - start < duration) {
        const int count = ::epoll_wait(epoll.get(), events.data(), static_cast<int>(events.size()), 100);
        for (int i = 0; i < count; ++i) {
            // Thrown away in the kernel: what is measured is the way here.
            const auto got = ::recv(static_cast<int>(events[static_cast<std::size_t>(i)].data.u64), nullptr,
                                    std::size_t{4} << 20U, MSG_TRUNC | MSG_DONTWAIT);
            if (got == 0) give_up("a transfer ended");
            if (got > 0) bytes += static_cast<double>(got);
        }
    }
    return {bytes, bytes * 1000 / milliseconds_since(start)};
}

Exchange requests(const Target& to, int connections, std::chrono::milliseconds duration) {
    const Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    std::vector<Call> calls(static_cast<std::size_t>(connections));
    for (std::size_t i = 0; i < calls.size(); ++i) {
        calls[i].socket = dial(to, 0);
        watch(epoll, calls[i].socket.get(), EPOLLIN, i);
    }
    std::vector<double> took;
    std::array<epoll_event, 64> events{};
    std::array<char, 4096> buffer{};
    for (auto& call : calls) ask(call);
    const auto start = Clock::now();
    while (Clock::now() - start < duration) {
        const int count = ::epoll_wait(epoll.get(), events.data(), static_cast<int>(events.size()), 100);
        for (int i = 0; i < count; ++i) {
            auto& call = calls[events[static_cast<std::size_t>(i)].data.u64];
            const auto got = ::recv(call.socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
            if (got <= 0) give_up("receive an answer");
            call.got += static_cast<std::size_t>(got);
            if (call.got < kRequest) continue;
            took.push_back(milliseconds_since(call.start) * 1000);
            ask(call);
        }
    }
    return summary(std::move(took), start);
}

Exchange new_connections(const Target& to, int at_once, std::chrono::milliseconds duration) {
    const Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    std::vector<Call> calls(static_cast<std::size_t>(at_once));
    const auto begin = [&](std::size_t index) {
        auto& call = calls[index];
        const auto now = Clock::now();
        call.socket = dial(to, 0);
        ask(call);
        call.start = now;
        watch(epoll, call.socket.get(), EPOLLIN, index);
    };
    for (std::size_t i = 0; i < calls.size(); ++i) begin(i);
    std::vector<double> took;
    std::array<epoll_event, 64> events{};
    std::array<char, 4096> buffer{};
    const auto start = Clock::now();
    while (Clock::now() - start < duration) {
        const int count = ::epoll_wait(epoll.get(), events.data(), static_cast<int>(events.size()), 100);
        for (int i = 0; i < count; ++i) {
            const auto index = events[static_cast<std::size_t>(i)].data.u64;
            auto& call = calls[index];
            const auto got = ::recv(call.socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
            if (got < 0) give_up("receive an answer");
            call.got += static_cast<std::size_t>(got);
            if (got > 0) continue;  // until its end
            if (call.got < kRequest) give_up("a connection ended without an answer");
            took.push_back(milliseconds_since(call.start) * 1000);
            begin(index);
        }
    }
    return summary(std::move(took), start);
}

std::vector<Fd> idle_connections(const Target& to, int count) {
    std::vector<Fd> sockets;
    for (int i = 0; i < count; ++i) {
        sockets.push_back(dial(to, 0));
        char byte = 'x';
        if (::send(sockets.back().get(), &byte, 1, MSG_NOSIGNAL) != 1 || ::recv(sockets.back().get(), &byte, 1, 0) != 1)
            give_up("exchange a byte");
    }
    return sockets;
}

}  // namespace ghostip::bench

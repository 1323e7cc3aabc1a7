#include "relay/tcp_session.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <new>
#include <utility>

#include "relay/proxy_protocol.h"
#include "relay/socket_options.h"
#include "relay/worker.h"

namespace ghostip::relay {
namespace {

constexpr std::uint32_t kBothEdges = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;

}  // namespace

void reset(Fd socket) {
    const linger at_once{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void TcpSession::start(Worker& worker, Accepted accepted) {
    const auto service = accepted.service;
    TcpSession* session = nullptr;  // over() gives it to the loop
    try {
        session = new TcpSession(worker, std::move(accepted));
    } catch (const std::bad_alloc&) {
        service->leave();
        worker.shared.connection_ended();
        return worker.acceptor.pause(Acceptor::Pause::kDescriptors);
    }
    session->guarded([&] { session->dial(); });
}

// Without memory one connection ends, not the process.
template <typename Step>
void TcpSession::guarded(Step step) {
    try {
        step();
    } catch (const std::bad_alloc&) {
        cut();
    }
}

void TcpSession::on_turn() {
    guarded([&] { carry(); });
}

void TcpSession::Side::on_events(std::uint32_t events) {
    session_.guarded([&] { session_.on_side(*this, events); });
}

TcpSession::TcpSession(Worker& worker, Accepted accepted)
    : worker_(worker),
      service_(std::move(accepted.service)),
      lane_(service_->lane(worker.number)),
      client_address_(accepted.client),
      destination_(accepted.destination),
      started_(worker.loop.now()),
      client_(*this),
      endpoint_(*this) {
    client_.socket = std::move(accepted.socket);
    client_.ready.fd = client_.socket.get();
    client_.ready.writable = true;
    worker_.connections.push_back(*this);
    lane_.connections.push_back(*this);
    lane_.counters.connections_open.add();
}

void TcpSession::dial() {
    while (attempt_ < worker_.dials.size()) {
        pool_generation_ = service_->picker().generation();
        const auto endpoint = service_->picker().pick(client_address_.address, worker_.loop.now(), tried_);
        if (!endpoint) return refuse(Refusal::kNoEndpoint);
        endpoint_address_ = *endpoint;
        if (dial_one(*endpoint)) return;
        dial_failed();
    }
    refuse(starved_ ? Refusal::kNoDescriptors : Refusal::kDialFailed);
}

// False: failed at once. A socket that cannot be had is waited for as if the endpoint did not answer.
bool TcpSession::dial_one(const SocketAddress& endpoint) {
    starved_ = false;
    if (worker_.shared.own_places.has(net::Protocol::kTcp, endpoint)) return false;
    const int family = endpoint.address.is_ipv4() ? AF_INET : AF_INET6;
    endpoint_.socket = worker_.spare.take(family);
    if (!endpoint_.socket) {
        if (!exhausted(errno)) return false;  // such as an endpoint of a family that this host does not have
        starved_ = true;
        worker_.acceptor.pause(Acceptor::Pause::kDescriptors);
        worker_.dials[attempt_].start(*this, worker_.loop.now());
        return true;
    }
    endpoint_.ready = {};
    endpoint_.ready.fd = endpoint_.socket.get();
    set_option(endpoint_.socket.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(endpoint_.socket.get(), SOL_SOCKET, SO_OOBINLINE, 1);
    // Without its mark it might come back to this relay, and round for ever.
    if (const auto mark = worker_.shared.options.mark; mark != 0 && !set_mark(endpoint_.socket.get(), mark))
        return false;
    const KernelAddress to(endpoint);
    const int result = ::connect(endpoint_.socket.get(), to.get(), to.size);
    if (result < 0 && errno != EINPROGRESS) return false;
    if (!worker_.loop.watch(endpoint_.socket.get(), kBothEdges, endpoint_)) return false;
    if (result == 0)
        (void)connected();
    else
        worker_.dials[attempt_].start(*this, worker_.loop.now());
    return true;
}

void TcpSession::dial_failed() {
    lane_.counters.dial_failures.add();
    endpoint_.socket.reset();
    if (!starved_) tried_.push_back(endpoint_address_);
    ++attempt_;
}

void TcpSession::on_deadline() {
    if (state_ == State::kDialling) {
        lane_.counters.dial_timeouts.add();
        guarded([&] {
            dial_failed();
            dial();
        });
    } else if (state_ == State::kEstablished) {
        set_keepalive(endpoint_.socket.get(), worker_.shared.options.timeouts);  // no longer young
    }
}

void TcpSession::on_side(Side& side, std::uint32_t events) {
    if (state_ == State::kOver) return;
    if (state_ == State::kDialling && !established_by(events)) return;
    auto& ready = side.ready;
    ready.hung_up = ready.hung_up || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    ready.urgent = ready.urgent || (events & EPOLLPRI) != 0;
    ready.readable = ready.readable || (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    ready.writable = ready.writable || (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
    carry();
    // A reset is passed on also where nobody reads from that side just now, after what had come before it.
    if ((events & EPOLLERR) != 0 && state_ == State::kEstablished) cut();
}

// While it dials, only the endpoint's socket is watched.
bool TcpSession::established_by(std::uint32_t events) {
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        unlink_deadline();
        dial_failed();
        dial();
        return false;
    }
    if ((events & EPOLLOUT) == 0) return false;
    return connected();
}

// False: the event that told so has nothing more to say.
bool TcpSession::connected() {
    unlink_deadline();
    // The pool was replaced while the endpoint was being dialled: one that has left gets nothing new.
    if (service_->picker().generation() != pool_generation_ && service_->abandoned(endpoint_address_)) {
        endpoint_.socket.reset();
        dial();
        return false;
    }
    state_ = State::kEstablished;
    std::vector<SocketAddress>().swap(tried_);
    lane_.counters.connections_opened.add();
    endpoint_.ready.writable = true;
    worker_.young.start(*this, worker_.loop.now());
    to_endpoint_.prepend(proxy_header(service_->picker().proxy_protocol(), client_address_, destination_));
    // Its first event says what has come meanwhile.
    if (worker_.loop.watch(client_.socket.get(), kBothEdges, client_)) return true;
    cut();
    return false;
}

void TcpSession::carry() {
    auto& counters = lane_.counters;
    if (!carry_one(to_endpoint_, client_, endpoint_, client_ended_, counters.bytes_to_endpoints) ||
        !carry_one(to_client_, endpoint_, client_, endpoint_ended_, counters.bytes_to_clients))
        return cut();
    if (client_ended_ && endpoint_ended_) return over();  // closing says both ends at once
}

// False: the connection is of no use any more.
bool TcpSession::carry_one(Flow& flow, Side& from, Side& to, bool& ended, Counter& bytes) {
    if (ended) return true;
    switch (flow.run(worker_.means, from.ready, to.ready, bytes)) {
        case Flow::Progress::kWaits: return true;
        case Flow::Progress::kAgain: worker_.loop.take_turn(*this); return true;
        case Flow::Progress::kBroken: return false;
        case Flow::Progress::kEnded: break;
    }
    ended = true;
    if (!(client_ended_ && endpoint_ended_)) ::shutdown(to.socket.get(), SHUT_WR);
    return true;
}

void TcpSession::refuse(Refusal why) {
    lane_.counters.refuse(why);
    reset(std::move(client_.socket));
    over();
}

void TcpSession::cut() {
    if (state_ == State::kOver) return;
    reset(std::move(client_.socket));
    reset(std::move(endpoint_.socket));
    over();
}

void TcpSession::over() {
    if (state_ == State::kEstablished) lane_.counters.ended_after(worker_.loop.now() - started_);
    state_ = State::kOver;
    lane_.counters.connections_open.subtract();
    client_.socket.reset();
    endpoint_.socket.reset();
    ListHook<InWorker>::unlink();
    ListHook<InService>::unlink();
    unlink_deadline();
    ListHook<InTurn>::unlink();
    service_->leave();
    worker_.shared.connection_ended();
    worker_.acceptor.room_again();
    worker_.loop.bury(std::unique_ptr<Timed>(this));
}

}  // namespace ghostip::relay

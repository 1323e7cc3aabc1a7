#include "relay/udp_sessions.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "relay/socket_options.h"
#include "relay/worker.h"

namespace ghostip::relay {
namespace {

// Then other sockets have their turn.
constexpr int kBatchesAtOnce = 4;
constexpr std::size_t kMostDials = 4;

bool refused_by_endpoint(int error) { return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH; }

// False too where there is no memory for it.
template <typename Step>
bool succeeds(Step step) {
    try {
        return step();
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace

std::size_t UdpKeyHash::operator()(const UdpKey& key) const noexcept {
    return std::hash<SocketAddress>{}(key.client) ^ (std::hash<SocketAddress>{}(key.local) * 31) ^
           std::hash<const void*>{}(key.port);
}

void UdpPort::on_events(std::uint32_t /*events*/) { sessions_.from_clients(*this); }
void UdpSession::on_events(std::uint32_t /*events*/) { sessions_.from_endpoint(*this); }
void UdpSession::on_deadline() { sessions_.end(*this); }

UdpSessions::UdpSessions(Worker& worker) : worker_(worker), idle_(worker.shared.options.timeouts.udp_idle) {
    worker_.loop.add_line(idle_);
}

Result<void> UdpSessions::add(const std::shared_ptr<const Listening>& listening, std::size_t index) {
    auto port = std::make_shared<UdpPort>(*this, listening, index);
    if (!worker_.loop.watch(port->socket->get(), EPOLLIN, *port))
        return fail_errno("watch for clients of {}", listening->spec.address.text());
    ports_[listening->id].push_back(std::move(port));
    return {};
}

void UdpSessions::remove(ListenerId listener) {
    const auto found = ports_.find(listener);
    if (found == ports_.end()) return;
    for (const auto& port : found->second) worker_.loop.ignore(port->socket->get());
    ports_.erase(found);
}

std::vector<UdpClient> UdpSessions::take_out(const std::unordered_set<ListenerId>& listeners) {
    std::vector<UdpSession*> leaving;
    for (const auto& [key, session] : sessions_)
        if (listeners.contains(session->port_->listening->id)) leaving.push_back(session.get());
    std::vector<UdpClient> clients;
    clients.reserve(leaving.size());
    for (auto* session : leaving) {
        auto& client = clients.emplace_back();
        client.listener = session->port_->listening->id;
        client.flow.socket = static_cast<std::uint16_t>(session->port_->index);
        client.flow.client = session->key_.client;
        client.flow.client_scope = session->client_.scope();
        client.flow.local = session->key_.local;
        client.flow.local_scope = session->reply_from_.interface;
        client.flow.endpoint = session->endpoint_;
        // Closed elsewhere, it would go on being watched here.
        worker_.loop.ignore(session->socket_.get());
        client.socket = std::move(session->socket_);
        end(*session);
    }
    return clients;
}

bool UdpSessions::put_in(UdpClient client) {
    const auto ports = ports_.find(client.listener);
    if (ports == ports_.end()) return false;
    const auto port = std::find_if(ports->second.begin(), ports->second.end(),
                                   [&](const auto& each) { return each->index == client.flow.socket; });
    if (port == ports->second.end()) return false;
    const auto& flow = client.flow;
    const UdpKey key{port->get(), flow.client, flow.local};
    UdpSession* session = nullptr;
    try {
        auto [verdict, service] = ask(**port, key);
        if (verdict != Answer::Verdict::kServe || service->abandoned(flow.endpoint) || sessions_.contains(key))
            return false;
        const auto mark = worker_.shared.options.mark;
        if (mark != 0 && !set_mark(client.socket.get(), mark)) return false;
        auto place = SessionPlace::take(worker_.shared, flow.client.address);
        if (!place) return false;
        KernelAddress from(flow.client);
        from.set_scope(flow.client_scope);
        session = &enlist(key, std::move(service), std::move(*place), from, {flow.local.address, flow.local_scope});
        session->endpoint_ = flow.endpoint;
        session->socket_ = std::move(client.socket);
        idle_.start(*session, worker_.loop.now());
        if (reply_by_own_socket(*session) && worker_.loop.watch(session->socket_.get(), EPOLLIN, *session)) return true;
    } catch (const std::bad_alloc&) {  // the client begins anew
    }
    if (session != nullptr) end(*session);
    return false;
}

void UdpSessions::close_all() {
    while (!ports_.empty()) remove(ports_.begin()->first);
    while (!sessions_.empty()) end(*sessions_.begin()->second);
}

void UdpSessions::end(UdpSession& session) {
    session.lane_.counters.sessions_open.subtract();
    session.ListHook<InService>::unlink();
    session.unlink_deadline();
    session.socket_.reset();
    session.place_.give_back();
    const UdpKey key = session.key_;
    auto node = sessions_.extract(key);
    worker_.loop.bury(std::move(node.mapped()));
}

UdpKey UdpSessions::key_of(const UdpPort& port, std::size_t index, const SocketAddress& client) const {
    const auto& spec = port.listening->spec;
    SocketAddress local = spec.address;
    if (const auto to = batch_.addressed_to(index)) local.address = to->address;
    if (spec.destinations == Destinations::kTransparent) local = batch_.original_destination(index).value_or(local);
    return {&port, client, local};
}

void UdpSessions::from_clients(UdpPort& port) {
    std::size_t count = Datagrams::kMost;
    for (int round = 0; round < kBatchesAtOnce && count == Datagrams::kMost; ++round) {
        count = batch_.receive(port.socket->get());
        // What one client sent without a pause goes on by one system call.
        for (std::size_t first = 0, next = 0; first < count; first = next) {
            next = first + 1;
            const auto client = batch_.from(first).value();
            if (!client) continue;
            const auto key = key_of(port, first, *client);
            while (next < count && batch_.from(next).value() == client && key_of(port, next, *client) == key) ++next;
            for (std::size_t i = first; i < next; ++i) {
                if (auto* session = session_for(port, i, key)) {
                    forward(*session, i, next - i);
                    break;
                }
            }
        }
    }
}

UdpSessions::Asked UdpSessions::ask(const UdpPort& port, const UdpKey& key) const {
    const auto& listening = *port.listening;
    Asked asked{Answer::Verdict::kServe, listening.service};
    if (!listening.spec.ask) return asked;
    const auto answer = listening.spec.ask({listening.id, listening.spec.protocol, key.client, key.local, key.local});
    asked.verdict = answer.verdict;
    if (auto other = worker_.shared.services.find(answer.service)) asked.service = std::move(other);
    return asked;
}

UdpSession* UdpSessions::session_for(UdpPort& port, std::size_t index, const UdpKey& key) {
    if (const auto found = sessions_.find(key); found != sessions_.end()) return found->second.get();
    std::shared_ptr<Service> service;
    try {
        auto asked = ask(port, key);
        service = std::move(asked.service);
        auto& counters = service->lane(worker_.number).counters;
        if (asked.verdict != Answer::Verdict::kServe) {
            counters.lose(DatagramLoss::kPolicy);
            return nullptr;
        }
        auto place = SessionPlace::take(worker_.shared, key.client.address);
        if (!place) {
            counters.lose(DatagramLoss::kSessionLimit);
            return nullptr;
        }
        return make(index, key, service, std::move(*place));
    } catch (const std::bad_alloc&) {
        // Where there is no memory for a lane, there is none to count in either.
        if (service && service->has_lane(worker_.number))
            service->lane(worker_.number).counters.lose(DatagramLoss::kNoResources);
        return nullptr;
    }
}

UdpSession& UdpSessions::enlist(const UdpKey& key, std::shared_ptr<Service> service, SessionPlace place,
                                const KernelAddress& client, const ReplyFrom& reply_from) {
    auto& lane = service->lane(worker_.number);
    std::shared_ptr<UdpPort> its_port;
    for (const auto& each : ports_[key.port->listening->id])
        if (each.get() == key.port) its_port = each;
    auto owned =
        std::make_unique<UdpSession>(*this, key, std::move(its_port), std::move(service), lane, std::move(place));
    auto& session = *owned;
    session.client_ = client;
    session.reply_from_ = reply_from;
    sessions_.emplace(key, std::move(owned));
    lane.sessions.push_back(session);
    lane.counters.sessions_opened.add();
    lane.counters.sessions_open.add();
    return session;
}

// Once it is listed, want of memory ends it like any other want.
UdpSession* UdpSessions::make(std::size_t index, const UdpKey& key, std::shared_ptr<Service> service,
                              SessionPlace place) {
    auto& session = enlist(key, std::move(service), std::move(place), batch_.from(index),
                           batch_.addressed_to(index).value_or(ReplyFrom{key.local.address, 0}));
    auto why = DatagramLoss::kNoResources;
    if (succeeds([&] { return reply_by_own_socket(session); }) && dial(session, why)) {
        idle_.start(session, worker_.loop.now());
        return &session;
    }
    session.lane_.counters.lose(why);
    end(session);
    return nullptr;
}

// Where clients asked for an address that is not the port's, answers need a socket that has it. It never receives:
// TPROXY passes over sockets that are not connected.
bool UdpSessions::reply_by_own_socket(UdpSession& session) {
    const auto& listening = *session.port_->listening;
    if (listening.spec.destinations != Destinations::kTransparent) return true;
    auto& known = reply_sockets_[session.key_.local];
    session.reply_socket_ = known.lock();
    if (session.reply_socket_) return true;
    const bool v4 = session.key_.local.address.is_ipv4();
    auto socket = std::make_shared<Fd>(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const KernelAddress local(session.key_.local);
    const bool bound =
        *socket && set_option(socket->get(), SOL_SOCKET, SO_REUSEADDR, 1) &&
        set_option(socket->get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1) &&
        ::bind(socket->get(), local.get(), local.size) == 0;
    std::erase_if(reply_sockets_, [](const auto& each) { return each.second.expired(); });
    if (!bound) return false;
    session.reply_socket_ = socket;
    reply_sockets_[session.key_.local] = session.reply_socket_;
    return true;
}

// The next endpoint; UDP only tells by the answer to a datagram that nobody listens there.
bool UdpSessions::dial(UdpSession& session, DatagramLoss& why) {
    try {
        return dial_in_turn(session, why);
    } catch (const std::bad_alloc&) {
        why = DatagramLoss::kNoResources;
        return false;
    }
}

bool UdpSessions::dial_in_turn(UdpSession& session, DatagramLoss& why) {
    while (session.tried_.size() < kMostDials) {
        const auto endpoint =
            session.service_->picker().pick(session.key_.client.address, worker_.loop.now(), session.tried_);
        why = DatagramLoss::kNoEndpoint;
        if (!endpoint) return false;
        session.endpoint_ = *endpoint;
        session.socket_ = Fd(
            ::socket(endpoint->address.is_ipv4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        why = DatagramLoss::kNoResources;
        if (!session.socket_ || !worker_.loop.watch(session.socket_.get(), EPOLLIN, session)) return false;
        if (const auto mark = worker_.shared.options.mark; mark != 0 && !set_mark(session.socket_.get(), mark))
            return false;
        const KernelAddress to(*endpoint);
        if (!worker_.shared.own_places.has(net::Protocol::kUdp, *endpoint) &&
            ::connect(session.socket_.get(), to.get(), to.size) == 0)
            return true;
        session.lane_.counters.dial_failures.add();
        session.tried_.push_back(*endpoint);
    }
    why = DatagramLoss::kNoEndpoint;
    return false;
}

bool UdpSessions::dial_next(UdpSession& session, DatagramLoss& why) {
    session.lane_.counters.dial_failures.add();
    why = DatagramLoss::kNoResources;
    const auto note = [&] {
        session.tried_.push_back(session.endpoint_);
        return true;
    };
    return succeeds(note) && dial(session, why);
}

void UdpSessions::forward(UdpSession& session, std::size_t first, std::size_t count) {
    auto& counters = session.lane_.counters;
    idle_.start(session, worker_.loop.now());
    while (count > 0) {
        const auto sent = batch_.send(session.socket_.get(), first, count);
        for (std::size_t i = first; i < first + sent; ++i) counters.bytes_to_endpoints.add(batch_.size(i));
        counters.datagrams_to_endpoints.add(sent);
        first += sent;
        count -= sent;
        if (sent > 0) continue;
        auto why = DatagramLoss::kNotSent;
        if (!refused_by_endpoint(errno)) {
            counters.lose(why);
            ++first;
            --count;
        } else if (!dial_next(session, why)) {
            counters.lose(why, count);
            return end(session);
        }
    }
}

void UdpSessions::from_endpoint(UdpSession& session) {
    if (!session.socket_) return;  // ended by an event before this one
    auto& counters = session.lane_.counters;
    const int out = (session.reply_socket_ ? session.reply_socket_ : session.port_->socket)->get();
    const auto* from = session.reply_socket_ ? nullptr : &session.reply_from_;
    std::size_t count = Datagrams::kMost;
    for (int round = 0; round < kBatchesAtOnce && count == Datagrams::kMost; ++round) {
        count = batch_.receive(session.socket_.get());
        if (count == 0 && refused_by_endpoint(errno)) {
            auto why = DatagramLoss::kNoEndpoint;
            if (!dial_next(session, why)) end(session);
            return;
        }
        if (count > 0) {
            std::vector<SocketAddress>().swap(session.tried_);
            idle_.start(session, worker_.loop.now());
        }
        for (std::size_t first = 0; first < count;) {
            const auto sent = batch_.send(out, first, count - first, &session.client_, from);
            for (std::size_t i = first; i < first + sent; ++i) counters.bytes_to_clients.add(batch_.size(i));
            counters.datagrams_to_clients.add(sent);
            if (sent == 0) counters.lose(DatagramLoss::kNotSent);
            first += std::max<std::size_t>(sent, 1);
        }
    }
}

}  // namespace ghostip::relay

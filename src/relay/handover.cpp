#include "relay/handover.h"

#include <sys/socket.h>

#include <iterator>
#include <utility>

#include "relay/handover_wire.h"
#include "relay/socket_address.h"

namespace ghostip::relay {
namespace {

using std::chrono::steady_clock;
using wire::Kind;

Result<int> read_option(int socket, int name, std::string_view what) {
    int value = 0;
    socklen_t size = sizeof value;
    if (::getsockopt(socket, SOL_SOCKET, name, &value, &size) < 0) return fail_errno("read {}", what);
    return value;
}

// Whether it is what it is said to be. A descriptor that is no socket has no options.
Result<void> check_socket(int socket, net::Protocol expected) {
    ASSIGN_OR_RETURN(const int protocol, read_option(socket, SO_PROTOCOL, "its protocol"));
    ASSIGN_OR_RETURN(const int listens, read_option(socket, SO_ACCEPTCONN, "its state"));
    const auto address = own_address(socket);
    if (!address) return fail("it has no IP address");
    if (protocol != static_cast<int>(expected)) return fail("its protocol is number {}", protocol);
    if (expected == net::Protocol::kTcp && listens == 0) return fail("it does not listen");
    if (address->port == 0) return fail("it is not bound");
    return {};
}

Result<void> check_session(int socket, const SocketAddress& endpoint) {
    RETURN_IF_ERROR(check_socket(socket, net::Protocol::kUdp));
    KernelAddress peer;
    if (::getpeername(socket, peer.get(), &peer.size) < 0 || peer.value() != endpoint)
        return fail("its socket is not connected to that");
    return {};
}

Result<void> check_unix_listener(const std::vector<Fd>& descriptors) {
    if (descriptors.size() != 1) return fail("{} sockets come with the offer, not one", descriptors.size());
    const int socket = descriptors.front().get();
    ASSIGN_OR_RETURN(const int domain, read_option(socket, SO_DOMAIN, "the family of the path's socket"));
    ASSIGN_OR_RETURN(const int type, read_option(socket, SO_TYPE, "the type of the path's socket"));
    ASSIGN_OR_RETURN(const int listens, read_option(socket, SO_ACCEPTCONN, "the state of the path's socket"));
    if (domain != AF_UNIX || type != SOCK_SEQPACKET || listens == 0)
        return fail("the path's socket is of family {} and type {}{}", domain, type,
                    listens == 0 ? " and does not listen" : "");
    return {};
}

Result<wire::Received> hear(const Fd& predecessor, steady_clock::time_point deadline, wire::Descriptors descriptors) {
    ASSIGN_OR_RETURN(auto received, wire::receive(predecessor.get(), deadline, descriptors));
    if (!received) return errno_error(ECONNRESET, "the predecessor ended meanwhile");
    auto& message = received->message;
    if (message.kind == Kind::kBusy) return errno_error(EBUSY, message.text);
    if (message.kind == Kind::kRefused) return fail("the predecessor refuses: {}", message.text);
    if (message.kind == Kind::kWithdrawn) return Error{"the predecessor goes on by itself: " + message.text, ECANCELED};
    return std::move(*received);
}

Error unexpected(Kind kind) {
    return fail("the predecessor sent a message of kind {} out of turn", static_cast<int>(kind));
}

Result<void> add(Clients& clients, wire::Received received) {
    auto& message = received.message;
    auto& sockets = received.descriptors;
    std::move(message.affinities.begin(), message.affinities.end(), std::back_inserter(clients.affinities));
    if (sockets.size() > message.sessions.size()) return fail("more sockets than sessions");
    // Those for which this process had no room begin anew.
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        auto& named = message.sessions[i];
        if (auto checked = check_session(sockets[i].get(), named.flow.endpoint); !checked)
            return checked.error().within(fmt::format("the session of {} at \"{}\" with {}", named.flow.client.text(),
                                                      named.listener, named.flow.endpoint.text()));
        clients.sessions.push_back({std::move(named), std::move(sockets[i])});
    }
    if (clients.affinities.size() > Clients::kMostAffinities || clients.sessions.size() > Clients::kMostSessions)
        return fail("the predecessor tells of more clients than may be");
    return {};
}

Result<void> add(std::map<std::string, NamedListener>& listeners, wire::Received batch) {
    auto socket = batch.descriptors.begin();
    for (auto& entry : batch.message.entries) {
        auto& listener = listeners[entry.name];
        if (listener.sockets.empty()) {
            listener.name = entry.name;
            listener.protocol = entry.protocol;
        } else if (listener.protocol != entry.protocol) {
            return fail("listener \"{}\" is of two protocols", entry.name);
        }
        for (int i = 0; i < entry.sockets; ++i, ++socket) {
            if (socket == batch.descriptors.end()) return fail("a batch announces more sockets than it carries");
            if (auto checked = check_socket(socket->get(), entry.protocol); !checked)
                return checked.error().within(
                    fmt::format("a socket of listener \"{}\", {}", entry.name, net::protocol_name(entry.protocol)));
            listener.sockets.push_back(std::move(*socket));
        }
    }
    if (socket != batch.descriptors.end()) return fail("a batch carries more sockets than it announces");
    return {};
}

}  // namespace

Result<std::optional<Handover>> Handover::ask(const std::string& path, std::chrono::milliseconds timeout) {
    const auto deadline = steady_clock::now() + timeout;
    ASSIGN_OR_RETURN(auto socket, wire::connect_to(path, timeout));
    if (!socket) return std::optional<Handover>();
    Handover handover(path, std::move(*socket));
    if (auto received = handover.receive_all(deadline); !received)
        return received.error().within(fmt::format("take over listeners at {}", path));
    return std::optional<Handover>(std::move(handover));
}

Result<void> Handover::receive_all(steady_clock::time_point deadline) {
    RETURN_IF_ERROR(wire::check_peer(predecessor_.get()));
    RETURN_IF_ERROR(wire::send(predecessor_.get(), {.kind = Kind::kAsk, .features = wire::feature::kAll}));
    ASSIGN_OR_RETURN(auto offer, hear(predecessor_, deadline, wire::Descriptors::kTake));
    if (offer.message.kind != Kind::kOffer) return unexpected(offer.message.kind);
    RETURN_IF_ERROR(check_unix_listener(offer.descriptors));
    at_path_ = std::move(offer.descriptors.front());
    knows_clients_ = (offer.message.features & wire::feature::kClients) != 0;
    waits_for_writes_ = (offer.message.features & wire::feature::kWrites) != 0;
    std::size_t sockets = 0;
    for (;;) {
        ASSIGN_OR_RETURN(auto batch, hear(predecessor_, deadline, wire::Descriptors::kTake));
        if (batch.message.kind == Kind::kEnd) break;
        if (batch.message.kind != Kind::kBatch) return unexpected(batch.message.kind);
        sockets += batch.descriptors.size();
        RETURN_IF_ERROR(add(listeners_, std::move(batch)));
        if (sockets > offer.message.sockets || listeners_.size() > offer.message.listeners) break;
        RETURN_IF_ERROR(wire::send(predecessor_.get(), {.kind = Kind::kNext}));
    }
    if (sockets != offer.message.sockets || listeners_.size() != offer.message.listeners)
        return fail("the predecessor announced {} listeners with {} sockets and sent {} with {}",
                    offer.message.listeners, offer.message.sockets, listeners_.size(), sockets);
    return {};
}

Result<void> Handover::about_to_write(std::chrono::milliseconds timeout) const {
    if (!waits_for_writes_) return {};
    const auto sent = wire::send(predecessor_.get(), {.kind = Kind::kWrites});
    ASSIGN_OR_RETURN(const auto answer, hear(predecessor_, steady_clock::now() + timeout, wire::Descriptors::kRefuse));
    RETURN_IF_ERROR(sent);
    if (answer.message.kind != Kind::kNext) return unexpected(answer.message.kind);
    return {};
}

Result<Clients> Handover::done(const std::vector<std::string>& adopted, std::chrono::milliseconds timeout) {
    Clients clients;
    if (done_) return clients;
    Result<void> told;
    if (knows_clients_) told = tell_adopted(adopted, timeout);
    if (told) told = receive_clients(clients, timeout);
    if (!told && told.error().code != ECONNRESET) return told.error().within("end a hand-over");
    done_ = true;
    return clients;
}

Error Handover::heard() const {
    const auto received = hear(predecessor_, steady_clock::now(), wire::Descriptors::kRefuse);
    return received ? unexpected(received->message.kind) : received.error();
}

// An error with code ECONNRESET: it is dead.
Result<void> Handover::tell_adopted(const std::vector<std::string>& names, std::chrono::milliseconds timeout) const {
    for (std::size_t next = 0; next < names.size();) {
        wire::Message message{.kind = Kind::kAdopted};
        for (std::size_t size = wire::kHead; next < names.size(); ++next) {
            size += wire::size_of(names[next]);
            if (size > wire::kLongestMessage) break;
            message.names.push_back(names[next]);
        }
        // Where this fails, what it has sent before says why.
        const auto sent = wire::send(predecessor_.get(), message);
        ASSIGN_OR_RETURN(const auto answer,
                         hear(predecessor_, steady_clock::now() + timeout, wire::Descriptors::kRefuse));
        RETURN_IF_ERROR(sent);
        if (answer.message.kind != Kind::kNext) return unexpected(answer.message.kind);
    }
    return {};
}

Result<void> Handover::receive_clients(Clients& clients, std::chrono::milliseconds timeout) const {
    for (auto say = Kind::kTaken;; say = Kind::kNext) {
        const auto sent = wire::send(predecessor_.get(), {.kind = say});
        ASSIGN_OR_RETURN(auto answer, hear(predecessor_, steady_clock::now() + timeout, wire::Descriptors::kTakeSome));
        RETURN_IF_ERROR(sent);
        const auto kind = answer.message.kind;
        if (kind == Kind::kReleased) return {};
        if (!knows_clients_ || (kind != Kind::kAffinities && kind != Kind::kSessions)) return unexpected(kind);
        RETURN_IF_ERROR(add(clients, std::move(answer)));
    }
}

}  // namespace ghostip::relay

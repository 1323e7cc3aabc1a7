#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <mutex>
#include <thread>
#include <utility>

#include "relay/handover.h"
#include "relay/handover_path.h"
#include "relay/handover_wire.h"

namespace ghostip::relay {
namespace {

using std::chrono::steady_clock;
using wire::Kind;

// More that have not said yet what they want are sent away.
constexpr std::size_t kMostPeers = 8;
constexpr std::chrono::seconds kPauseWithoutDescriptors{1};

struct Peer {
    // What it owes us.
    enum class Stage : std::uint8_t { kAsk, kNext, kTaken, kClients };
    Fd socket;
    Stage stage = Stage::kAsk;
    steady_clock::time_point deadline;
    bool gone = false;
};

bool fits(const std::string& name) { return !name.empty() && name.size() <= wire::kLongestName; }

Result<std::size_t> count_sockets(const std::vector<NamedListener>& listeners) {
    std::size_t sockets = 0;
    for (const auto& listener : listeners) {
        const bool known = listener.protocol == net::Protocol::kTcp || listener.protocol == net::Protocol::kUdp;
        if (!fits(listener.name) || listener.sockets.empty() || !known)
            return fail("listener \"{}\" cannot be handed over", listener.name);
        sockets += listener.sockets.size();
    }
    return sockets;
}

// All but the constructor and the destructor is on its thread.
class Server final : public HandoverServer {
  public:
    Server(PathListener listener, Fd stop, HandoverCallbacks callbacks, HandoverTimeouts timeouts)
        : listener_(std::move(listener)),
          stop_(std::move(stop)),
          callbacks_(std::move(callbacks)),
          timeouts_(timeouts),
          thread_([this] { run(); }) {}
    ~Server() override {
        ::eventfd_write(stop_.get(), 1);
        thread_.join();
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    bool successor_ended() const override {
        const std::lock_guard lock(mutex_);
        pollfd one{successor_.get(), 0, 0};
        return successor_ && ::poll(&one, 1, 0) == 1 && (one.revents & (POLLHUP | POLLERR)) != 0;
    }

  private:
    void run() {
        std::vector<pollfd> wanted;
        for (;;) {
            wait(wanted);
            if (wanted[0].revents != 0) return;
            for (std::size_t i = 0; i < peers_.size(); ++i) step(peers_[i], wanted[i + 2].revents != 0);
            std::erase_if(peers_, [](const Peer& peer) { return peer.gone; });
            if (wanted[1].revents != 0 && listener_.socket()) accept_one();
        }
    }

    void wait(std::vector<pollfd>& wanted) const {
        const auto now = steady_clock::now();
        // Without descriptors nobody can be accepted, and who waits would wake us again and again.
        const bool accepts = now >= accept_again_ && listener_.socket();
        wanted = {{stop_.get(), POLLIN, 0}, {accepts ? listener_.get() : -1, POLLIN, 0}};
        auto next = now < accept_again_ ? accept_again_ : now + std::chrono::hours(1);
        for (const auto& peer : peers_) {
            wanted.push_back({peer.socket.get(), POLLIN, 0});
            next = std::min(next, peer.deadline);
        }
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now).count();
        if (::poll(wanted.data(), wanted.size(), static_cast<int>(std::max<decltype(left)>(left, 0))) < 0)
            for (auto& one : wanted) one.revents = 0;
    }

    void accept_one() {
        Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!socket) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                accept_again_ = steady_clock::now() + kPauseWithoutDescriptors;
            return;
        }
        if (peers_.size() >= kMostPeers || !wire::check_peer(socket.get())) return;
        peers_.push_back({std::move(socket), Peer::Stage::kAsk, steady_clock::now() + timeouts_.step});
    }

    void step(Peer& peer, bool readable) {
        const auto now = steady_clock::now();
        if (!readable) {
            if (now >= peer.deadline) drop(peer, errno_error(ETIMEDOUT, "the successor does not answer"));
            return;
        }
        const auto received = wire::receive(peer.socket.get(), now, wire::Descriptors::kRefuse);
        if (!received) return drop(peer, received.error());
        if (!received->has_value()) return drop(peer, fail("the successor ended before it served"));
        const auto& message = (*received)->message;
        const auto kind = message.kind;
        if (kind == Kind::kAsk && peer.stage == Peer::Stage::kAsk) return begin(peer, message.features);
        if (kind == Kind::kNext && peer.stage == Peer::Stage::kNext) return go_on(peer);
        if (kind == Kind::kWrites && peer.stage == Peer::Stage::kTaken && !writes_) return writes(peer);
        if (kind == Kind::kAdopted && peer.stage == Peer::Stage::kTaken && tells_clients_)
            return adopted(peer, message.names);
        if (kind == Kind::kTaken && peer.stage == Peer::Stage::kTaken) return let_go(peer);
        if (kind == Kind::kNext && peer.stage == Peer::Stage::kClients) return tell_clients(peer);
        drop(peer, fail("the successor sent a message of kind {} out of turn", static_cast<int>(kind)));
    }

    // It may read why, unless it is gone.
    static void dismiss(Peer& peer, Kind kind, std::string why) {
        static_cast<void>(wire::send(peer.socket.get(), {.kind = kind, .text = std::move(why)}));
        peer.gone = true;
    }

    void drop(Peer& peer, const Error& error) {
        const bool successor = peer.stage != Peer::Stage::kAsk;
        dismiss(peer, successor ? Kind::kWithdrawn : Kind::kRefused, error.message);
        if (!successor) return;
        has_successor_ = false;
        offered_.clear();
        if (peer.stage == Peer::Stage::kClients && callbacks_.take_back) callbacks_.take_back(std::move(clients_));
        callbacks_.successor_failed(error);
    }

    void begin(Peer& peer, std::uint32_t features) {
        if (has_successor_) return dismiss(peer, Kind::kBusy, "the listeners go to another process already");
        auto listeners = callbacks_.successor_came();
        if (!listeners) return dismiss(peer, Kind::kRefused, listeners.error().message);
        has_successor_ = true;
        offered_ = std::move(*listeners);
        next_listener_ = next_socket_ = 0;
        tells_clients_ = callbacks_.let_go && (features & wire::feature::kClients) != 0;
        adopted_.clear();
        writes_ = false;
        const bool will_say = (features & wire::feature::kWrites) != 0;
        if (!will_say) stop_writing();
        peer.stage = Peer::Stage::kNext;
        const auto sockets = count_sockets(offered_);
        if (!sockets) return drop(peer, sockets.error());
        const wire::Message offer{
            .kind = Kind::kOffer,
            .listeners = static_cast<std::uint32_t>(offered_.size()),
            .sockets = static_cast<std::uint32_t>(*sockets),
            .features = (tells_clients_ ? wire::feature::kClients : 0) | (will_say ? wire::feature::kWrites : 0)};
        if (const auto sent = wire::send(peer.socket.get(), offer, {&listener_.socket(), 1}); !sent)
            return drop(peer, sent.error());
        go_on(peer);
    }

    void go_on(Peer& peer) {
        std::vector<Fd> sockets;
        const auto message = next_batch(sockets);
        // Its own descriptors are enough: what is under way keeps the sockets open.
        const auto sent = wire::send(peer.socket.get(), message, sockets);
        if (!sent) return drop(peer, sent.error());
        peer.stage = message.kind == Kind::kEnd ? Peer::Stage::kTaken : Peer::Stage::kNext;
        peer.deadline = steady_clock::now() + (message.kind == Kind::kEnd ? timeouts_.taken : timeouts_.step);
    }

    wire::Message next_batch(std::vector<Fd>& sockets) {
        wire::Message message{.kind = Kind::kBatch};
        std::size_t size = wire::kHead;
        while (next_listener_ < offered_.size() && sockets.size() < wire::kMostDescriptors) {
            auto& listener = offered_[next_listener_];
            const auto count =
                std::min(listener.sockets.size() - next_socket_, wire::kMostDescriptors - sockets.size());
            wire::Entry entry{listener.name, listener.protocol, static_cast<std::uint16_t>(count)};
            size += entry.size();
            if (size > wire::kLongestMessage) break;
            message.entries.push_back(std::move(entry));
            for (std::size_t i = 0; i < count; ++i) sockets.push_back(std::move(listener.sockets[next_socket_++]));
            if (next_socket_ < listener.sockets.size()) break;
            ++next_listener_;
            next_socket_ = 0;
        }
        if (message.entries.empty()) message.kind = Kind::kEnd;
        return message;
    }

    void stop_writing() {
        if (std::exchange(writes_, true)) return;
        if (callbacks_.successor_writes) callbacks_.successor_writes();
    }

    void writes(Peer& peer) {
        stop_writing();
        peer.deadline = steady_clock::now() + timeouts_.taken;
        if (const auto sent = wire::send(peer.socket.get(), {.kind = Kind::kNext}); !sent) drop(peer, sent.error());
    }

    void adopted(Peer& peer, const std::vector<std::string>& names) {
        adopted_.insert(adopted_.end(), names.begin(), names.end());
        if (adopted_.size() > offered_.size())
            return drop(peer, fail("the successor has adopted {} listeners of {}", adopted_.size(), offered_.size()));
        peer.deadline = steady_clock::now() + timeouts_.step;
        if (const auto sent = wire::send(peer.socket.get(), {.kind = Kind::kNext}); !sent) drop(peer, sent.error());
    }

    void let_go(Peer& peer) {
        stop_writing();
        if (adopted_.empty()) return end(peer);
        clients_ = callbacks_.let_go(adopted_);
        std::erase_if(clients_.affinities, [](const auto& each) { return !fits(each.service); });
        if (clients_.affinities.size() > Clients::kMostAffinities) clients_.affinities.resize(Clients::kMostAffinities);
        if (clients_.sessions.size() > Clients::kMostSessions) clients_.sessions.resize(Clients::kMostSessions);
        next_affinity_ = next_session_ = 0;
        peer.stage = Peer::Stage::kClients;
        tell_clients(peer);
    }

    void tell_clients(Peer& peer) {
        std::vector<Fd> sockets;
        const auto first = next_session_;
        const auto message = next_clients(sockets);
        if (message.kind == Kind::kReleased) return end(peer);
        const auto sent = wire::send(peer.socket.get(), message, sockets);
        // They are the successor's when it serves.
        for (std::size_t i = 0; i < sockets.size(); ++i) clients_.sessions[first + i].socket = std::move(sockets[i]);
        if (!sent) return drop(peer, sent.error());
        peer.deadline = steady_clock::now() + timeouts_.step;
    }

    wire::Message next_clients(std::vector<Fd>& sockets) {
        wire::Message message{.kind = Kind::kSessions};
        std::size_t size = wire::kHead;
        for (; next_session_ < clients_.sessions.size() && sockets.size() < wire::kMostDescriptors; ++next_session_) {
            auto& session = clients_.sessions[next_session_];
            size += wire::size_of(session.of);
            if (size > wire::kLongestMessage) break;
            message.sessions.push_back(session.of);
            sockets.push_back(std::move(session.socket));
        }
        if (!message.sessions.empty()) return message;
        message.kind = Kind::kAffinities;
        for (; next_affinity_ < clients_.affinities.size(); ++next_affinity_) {
            const auto& affinity = clients_.affinities[next_affinity_];
            size += wire::size_of(affinity);
            if (size > wire::kLongestMessage) break;
            message.affinities.push_back(affinity);
        }
        if (message.affinities.empty()) message.kind = Kind::kReleased;
        return message;
    }

    void end(Peer& peer) {
        // Nobody else is accepted here from now on; who waits is the successor's. Whether it hears that does not matter
        // any more: it serves.
        listener_.give_away();
        dismiss(peer, Kind::kReleased, {});
        {
            const std::lock_guard lock(mutex_);
            successor_ = std::move(peer.socket);
        }
        offered_.clear();
        clients_ = {};
        callbacks_.taken();
    }

    PathListener listener_;
    const Fd stop_;
    const HandoverCallbacks callbacks_;
    const HandoverTimeouts timeouts_;

    std::vector<Peer> peers_;
    bool has_successor_ = false;  // stays so when it has taken the listeners
    std::vector<NamedListener> offered_;
    std::size_t next_listener_ = 0;  // of offered_
    std::size_t next_socket_ = 0;    // of that listener
    bool tells_clients_ = false;     // this successor wants to know of them
    bool writes_ = false;            // it has said so, or would not
    std::vector<std::string> adopted_;
    Clients clients_;  // here until the successor serves
    std::size_t next_affinity_ = 0;
    std::size_t next_session_ = 0;
    steady_clock::time_point accept_again_;
    mutable std::mutex mutex_;
    Fd successor_;  // that has taken the listeners; guarded by mutex_

    std::thread thread_;  // last: it needs the others
};

Result<std::unique_ptr<HandoverServer>> serve(PathListener listener, HandoverCallbacks callbacks,
                                              HandoverTimeouts timeouts) {
    Fd stop(::eventfd(0, EFD_CLOEXEC));
    if (!stop) return fail_errno("open an event descriptor");
    return std::unique_ptr<HandoverServer>(
        std::make_unique<Server>(std::move(listener), std::move(stop), std::move(callbacks), timeouts));
}

}  // namespace

Result<std::unique_ptr<HandoverServer>> HandoverServer::open(const std::string& path, HandoverCallbacks callbacks,
                                                             HandoverTimeouts timeouts) {
    ASSIGN_OR_RETURN(auto listener, PathListener::open(path));
    return serve(std::move(listener), std::move(callbacks), timeouts);
}

bool HandoverServer::somebody_waits(const std::string& path) {
    constexpr std::chrono::milliseconds kPatience{100};
    const auto socket = wire::connect_to(path, kPatience);
    return !socket || socket->has_value();  // one that is only slow to let us in is there
}

Result<std::unique_ptr<HandoverServer>> HandoverServer::continue_from(Handover& handover, HandoverCallbacks callbacks,
                                                                      HandoverTimeouts timeouts) {
    if (!handover.done_ || !handover.at_path_) return fail("{} is the predecessor's yet", handover.path_);
    ASSIGN_OR_RETURN(auto listener, PathListener::adopt(handover.path_, std::move(handover.at_path_)));
    return serve(std::move(listener), std::move(callbacks), timeouts);
}

}  // namespace ghostip::relay

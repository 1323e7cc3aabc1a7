// UDP for one thread. The first datagram of a client (address and port) makes a session: a socket of its own towards an
// endpoint, by which answers find back. It ends when neither side has sent for a while.
//
//     client --> port's socket --> session's socket --> endpoint
//     client <-- port's socket <-- session's socket <-- endpoint      from the address that the client has asked
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "relay/clients.h"
#include "relay/datagrams.h"
#include "relay/listen_sockets.h"
#include "relay/loop.h"
#include "relay/service.h"
#include "relay/shared.h"

namespace ghostip::relay {

class Worker;
class UdpSessions;

// A socket at which clients' datagrams arrive.
class UdpPort final : public EventSink {
  public:
    UdpPort(UdpSessions& sessions, std::shared_ptr<const Listening> its_listening, std::size_t its_index)
        : listening(std::move(its_listening)),
          index(its_index),
          socket(listening->sockets[its_index]),
          sessions_(sessions) {}
    void on_events(std::uint32_t events) override;

    const std::shared_ptr<const Listening> listening;
    const std::size_t index;  // of the listener's sockets
    const std::shared_ptr<const Fd> socket;

  private:
    UdpSessions& sessions_;
};

// Whose datagrams belong together.
struct UdpKey {
    const UdpPort* port = nullptr;
    SocketAddress client;
    SocketAddress local;

    friend bool operator==(const UdpKey&, const UdpKey&) = default;
};
struct UdpKeyHash {
    std::size_t operator()(const UdpKey& key) const noexcept;
};

class UdpSession final : public ListHook<InService>, public Timed, public EventSink {
  public:
    UdpSession(UdpSessions& sessions, UdpKey key, std::shared_ptr<UdpPort> port, std::shared_ptr<Service> service,
               Lane& lane, SessionPlace place)
        : sessions_(sessions),
          key_(key),
          port_(std::move(port)),
          service_(std::move(service)),
          lane_(lane),
          place_(std::move(place)) {}
    void on_events(std::uint32_t events) override;
    void on_deadline() override;
    [[nodiscard]] const SocketAddress& endpoint() const { return endpoint_; }

  private:
    friend class UdpSessions;

    UdpSessions& sessions_;
    const UdpKey key_;
    const std::shared_ptr<UdpPort> port_;  // also when its listener is closed: answers go out by it
    const std::shared_ptr<Service> service_;
    Lane& lane_;
    SessionPlace place_;
    KernelAddress client_;
    ReplyFrom reply_from_;
    std::shared_ptr<const Fd> reply_socket_;  // null: the port's
    SocketAddress endpoint_;
    Fd socket_;
    std::vector<SocketAddress> tried_;  // since something was last heard from an endpoint
};

class UdpSessions {
  public:
    explicit UdpSessions(Worker& worker);

    [[nodiscard]] Result<void> add(const std::shared_ptr<const Listening>& listening, std::size_t index);
    void remove(ListenerId listener);
    // The sessions of these listeners, which end here.
    [[nodiscard]] std::vector<UdpClient> take_out(const std::unordered_set<ListenerId>& listeners);
    // At a port that was added. False: the flow may not go there now, or there is no room for it.
    bool put_in(UdpClient client);
    void close_all();
    void end(UdpSession& session);

  private:
    friend class UdpPort;
    friend class UdpSession;

    void from_clients(UdpPort& port);
    void from_endpoint(UdpSession& session);
    [[nodiscard]] UdpKey key_of(const UdpPort& port, std::size_t index, const SocketAddress& client) const;
    // Whose client it is.
    struct Asked {
        Answer::Verdict verdict = Answer::Verdict::kServe;
        std::shared_ptr<Service> service;
    };
    [[nodiscard]] Asked ask(const UdpPort& port, const UdpKey& key) const;
    // Null: there will be none. Then it was counted why.
    [[nodiscard]] UdpSession* session_for(UdpPort& port, std::size_t index, const UdpKey& key);
    [[nodiscard]] UdpSession* make(std::size_t index, const UdpKey& key, std::shared_ptr<Service> service,
                                   SessionPlace place);
    // Without its way to an endpoint yet.
    [[nodiscard]] UdpSession& enlist(const UdpKey& key, std::shared_ptr<Service> service, SessionPlace place,
                                     const KernelAddress& client, const ReplyFrom& reply_from);
    [[nodiscard]] bool reply_by_own_socket(UdpSession& session);
    [[nodiscard]] bool dial(UdpSession& session, DatagramLoss& why);
    [[nodiscard]] bool dial_in_turn(UdpSession& session, DatagramLoss& why);
    [[nodiscard]] bool dial_next(UdpSession& session, DatagramLoss& why);
    void forward(UdpSession& session, std::size_t first, std::size_t count);

    Worker& worker_;
    Datagrams batch_;
    Line idle_;
    std::unordered_map<ListenerId, std::vector<std::shared_ptr<UdpPort>>> ports_;
    std::unordered_map<UdpKey, std::unique_ptr<UdpSession>, UdpKeyHash> sessions_;
    // Of transparent listeners, by what clients have asked.
    std::unordered_map<SocketAddress, std::weak_ptr<const Fd>> reply_sockets_;
};

}  // namespace ghostip::relay

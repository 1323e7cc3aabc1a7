// Asks the network what really happens to new connections: many at once, one thread, real sockets.
//
// Every place of the topology answers on the ports told to listen(), on all addresses. An answer names the responder
// and the source that it saw, and has come all the way back; so one probe shows the translation, the rewriting of the
// source, and that replies find home. A rejection is an ICMP port unreachable read from the socket's error queue; a
// reset is not one. Silence is only believed when nothing at all has happened for a while, so that a slow machine does
// not turn answers into drops, and costs that while once for all probes of a run.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "net/address.h"
#include "net/protocol.h"
#include "support/topology.h"
#include "support/wire.h"

namespace ghostip::testnet {

// The first packet of a connection, and what follows if it is let.
struct Probe {
    Place from = Place::kPods;
    net::IpAddress source;
    net::IpAddress destination;
    net::Protocol protocol = net::Protocol::kTcp;
    std::uint16_t port = 0;
    std::uint32_t mark = 0;  // SO_MARK

    // `pods 10.0.0.2 -> 172.30.0.41:80/TCP`
    [[nodiscard]] std::string text() const;
};

enum class Seen : std::uint8_t {
    kAnswered,
    kRejected,  // ICMP port unreachable
    kDropped,   // nothing came back
    kReset,     // TCP RST: no rule of ours does that
    kError,     // another ICMP error, or the socket could not even send
};
[[nodiscard]] std::string_view seen_name(Seen seen);

struct Outcome {
    Seen seen = Seen::kDropped;
    // Who answered: where it lives, how it was addressed, whom it saw. Also set for a drop when a responder got the
    // probe and its answer was lost on the way back.
    Place place = Place::kNode;
    net::IpAddress endpoint;
    std::uint16_t endpoint_port = 0;
    net::IpAddress source;
    std::uint16_t source_port = 0;  // as the responder saw it
    std::uint16_t sent_from_port = 0;
    bool arrived = false;
    std::string detail;

    // Answered by the very address and port that was dialed.
    [[nodiscard]] bool untranslated(const Probe& probe) const {
        return seen == Seen::kAnswered && endpoint == probe.destination && endpoint_port == probe.port;
    }
    // `10.180.0.1:80 in pods, which saw 203.0.113.2`
    [[nodiscard]] std::string text() const;
};

class ProbeEngine {
  public:
    [[nodiscard]] static Result<std::unique_ptr<ProbeEngine>> create(const Topology& topology);
    ~ProbeEngine();

    // Responders on these ports, TCP and UDP, in every place; SCTP is answered on all ports. Additive.
    [[nodiscard]] Result<void> listen(const std::set<std::uint16_t>& ports);

    // All at once. `quiet`: how long nothing may happen before what is open counts as dropped.
    [[nodiscard]] Result<std::vector<Outcome>> run(const std::vector<Probe>& probes,
                                                   std::chrono::milliseconds quiet = std::chrono::milliseconds(250));
    // One after the other, each to its end.
    [[nodiscard]] Result<std::vector<Outcome>> run_in_turn(
        const std::vector<Probe>& probes, std::chrono::milliseconds quiet = std::chrono::milliseconds(250));

  private:
    enum class Kind : std::uint8_t { kTcpListener, kTcpServer, kUdpServer, kSctp, kTcpClient, kUdpClient };
    struct Handle {
        Kind kind;
        Place place;
        net::Family family;
        std::size_t probe;  // clients: index into the run's probes
        std::uint32_t generation;
        bool greeted;  // TCP client: request sent
        std::string buffer;
        Fd fd;
    };

    explicit ProbeEngine(const Topology& topology) : topology_(topology) {}
    [[nodiscard]] Result<void> open_raw_sockets();
    Handle& watch(Kind kind, Place place, net::Family family, Fd fd, std::uint32_t events);
    void close(int fd);

    [[nodiscard]] Result<void> start(std::size_t index);
    [[nodiscard]] Result<void> start_sctp(std::size_t index);
    // Waits at most `timeout` for events and serves them; the number of events.
    [[nodiscard]] std::size_t pump(std::chrono::milliseconds timeout);
    void serve(Handle& handle, std::uint32_t events);
    void accept_all(Handle& listener);
    void serve_tcp(Handle& server);
    void serve_udp(Handle& server);
    void serve_sctp(Handle& raw);
    void answer_sctp(Handle& raw, const sctp::Packet& init, const net::IpAddress& to, const net::IpAddress& from);
    void continue_tcp(Handle& client, std::uint32_t events);
    void continue_udp(Handle& client, std::uint32_t events);
    void read_errors(Handle& handle);

    void arrived(const Answer& answer);
    void settle(std::size_t index, Seen seen, std::string detail = {});
    void settle_answer(std::size_t index, const Answer& answer);
    [[nodiscard]] bool pending(std::size_t index) const { return index < open_.size() && open_[index]; }
    [[nodiscard]] std::uint64_t nonce(std::size_t index) const { return run_ << 32 | index; }

    const Topology& topology_;
    Fd epoll_;
    std::vector<std::unique_ptr<Handle>> handles_;  // by file descriptor
    std::uint32_t generation_ = 0;
    std::set<std::uint16_t> ports_;
    std::unordered_map<int, Handle*> raw_;  // by place and family
    std::uint16_t next_sctp_port_ = 33000;

    // The run that is going on.
    std::uint64_t run_ = 0;
    const std::vector<Probe>* probes_ = nullptr;
    std::vector<Outcome> outcomes_;
    std::vector<bool> open_;
    std::size_t open_count_ = 0;
    std::vector<int> client_fds_;
    std::unordered_map<std::uint16_t, std::size_t> sctp_probes_;  // by source port
};

}  // namespace ghostip::testnet

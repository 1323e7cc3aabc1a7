// Carries bytes between clients and endpoints in this process: TCP connections and UDP sessions, for any number of
// services. Knows neither Kubernetes nor the kernel's rules; who owns a relay says who is served, by whom.
//
//     clients -> listener -(ask)-> service -> pool -> endpoint
//
// Any thread may call; calls take turns. The traffic itself is on threads of the relay's own, one a core, and a
// connection stays on the thread that accepted it. When a call returns, all threads go by what it said. They wait for
// no one: not for dials, nor slow readers.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "relay/clients.h"
#include "relay/limits.h"
#include "relay/listener.h"
#include "relay/metrics.h"
#include "relay/pool.h"

namespace ghostip::relay {

struct Options {
    unsigned threads = 0;  // 0: one a core that this process may use
    Limits limits = {};
    Timeouts timeouts = {};
    // How long a connection goes on when its endpoint or service has left. Absent: until it ends.
    std::optional<std::chrono::milliseconds> drain = std::nullopt;
    // Of packets to endpoints (SO_MARK; needs CAP_NET_ADMIN), by which the host's rules tell them from those of
    // clients. 0: none.
    std::uint32_t mark = 0;
};

class Relay {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Relay>> start(const Options& options);
    Relay() = default;
    Relay(const Relay&) = delete;
    Relay& operator=(const Relay&) = delete;
    virtual ~Relay() = default;  // cuts what is still there

    // --- services
    [[nodiscard]] virtual ServiceId add_service(Pool pool, ServiceLimits limits = {}) = 0;
    // Endpoints that are gone get nothing new from now on; their TCP connections go on (Options::drain), their UDP
    // sessions end, so that the client's next datagram goes to another.
    virtual Result<void> set_pool(ServiceId service, Pool pool) = 0;
    virtual Result<void> set_limits(ServiceId service, ServiceLimits limits) = 0;
    // Its listeners are closed; its connections go on (Options::drain), its UDP sessions end.
    virtual void remove_service(ServiceId service) = 0;

    // --- listeners
    [[nodiscard]] virtual Result<ListenerId> listen(ListenerSpec spec) = 0;
    // Takes over sockets that already listen (TCP) or are bound (UDP), all at one address, whoever made them; `address`
    // and `sockets` of the spec do not count. What waits in their backlog is served.
    [[nodiscard]] virtual Result<ListenerId> adopt(ListenerSpec spec, std::vector<Fd> sockets) = 0;
    [[nodiscard]] virtual Result<SocketAddress> address(ListenerId listener) const = 0;
    // Other descriptors of the same sockets, for a hand-over. While they are open somewhere, close() refuses nobody:
    // who waits in the backlog is left to who has them. So: duplicate, adopt elsewhere, close here.
    [[nodiscard]] virtual Result<std::vector<Fd>> duplicate(ListenerId listener) const = 0;
    // What was accepted goes on; UDP sessions still get their answers until they are idle.
    virtual void close(ListenerId listener) = 0;
    virtual void close_all_listeners() = 0;

    // --- from one relay to another
    // Nothing is taken from these listeners until resume(): clients wait in their backlogs and buffers. What was
    // accepted goes on; UDP sessions come out, for who serves next. Those that are held, or are not there, are passed
    // over.
    [[nodiscard]] virtual std::vector<UdpClient> hold(std::span<const ListenerId> listeners) = 0;
    // Ends that, and goes on with these clients of theirs, as if they had sent just now; those to whose endpoint
    // nothing may go any more, and those beyond a limit, are let go. How many go on. An error: for a listener there
    // were no means; it serves on some of the threads or none, the others serve.
    virtual Result<std::size_t> resume(std::span<const ListenerId> listeners, std::vector<UdpClient> clients) = 0;
    // Where clients go that stick, and the same from before (Picker::remember()).
    [[nodiscard]] virtual Result<std::vector<Affinity>> affinities(ServiceId service) const = 0;
    virtual Result<std::size_t> remember(ServiceId service, std::vector<Affinity> earlier) = 0;

    // --- the end
    // Whether no connection and no session is left; waits at most so long for that.
    [[nodiscard]] virtual bool wait_until_idle(std::chrono::milliseconds longest) const = 0;

    // --- what was counted; waits for no thread
    [[nodiscard]] virtual Result<ServiceMetrics> metrics(ServiceId service) const = 0;
    [[nodiscard]] virtual RelayMetrics metrics() const = 0;
};

}  // namespace ghostip::relay

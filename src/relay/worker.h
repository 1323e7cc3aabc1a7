// One thread of a relay with all that belongs to it.
#pragma once

#include <array>
#include <memory>
#include <unordered_set>
#include <vector>

#include "relay/acceptor.h"
#include "relay/flow.h"
#include "relay/loop.h"
#include "relay/shared.h"
#include "relay/spare_socket.h"
#include "relay/tcp_session.h"
#include "relay/udp_sessions.h"

namespace ghostip::relay {

class Worker {
  public:
    Worker(Shared& all, unsigned index);
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    ~Worker() { stop(); }
    [[nodiscard]] Result<void> start();
    void stop();  // cuts all that it carries

    void stop_serving(const std::unordered_set<ListenerId>& listeners);
    // Some endpoints left at that time. Cuts what goes to them, TCP connections only after the drain time.
    void end_abandoned(const std::shared_ptr<Service>& service, TimePoint left);

    Shared& shared;
    const unsigned number;
    Loop loop;  // the rest belongs to its thread
    Means means;
    SpareSocket spare;
    std::array<Line, 4> dials;  // by attempt
    Line young;                 // established, but not yet for long
    IntrusiveList<TcpSession, InWorker> connections;
    Acceptor acceptor;
    UdpSessions udp;

  private:
    static void cut_gone_since(TimePoint left, Lane& lane, Service& service);
};

}  // namespace ghostip::relay

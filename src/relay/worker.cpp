#include "relay/worker.h"

#include <algorithm>

namespace ghostip::relay {
namespace {

// Requests and answers mostly fit; larger than that is cheaper to splice than to copy.
constexpr std::size_t kBuffer = std::size_t{32} * 1024;
// Most connections end sooner, and spare the system calls that make the kernel look after them.
constexpr std::chrono::milliseconds kYoung = std::chrono::seconds(10);

}  // namespace

Worker::Worker(Shared& all, unsigned index)
    : shared(all),
      number(index),
      means{PipePool(all.options.limits.buffer_bytes),
            std::vector<char>(std::clamp<std::size_t>(all.options.limits.buffer_bytes, 1, kBuffer))},
      dials{Line(all.options.timeouts.dial[0]), Line(all.options.timeouts.dial[1]), Line(all.options.timeouts.dial[2]),
            Line(all.options.timeouts.dial[3])},
      young(kYoung),
      acceptor(*this),
      udp(*this) {
    for (auto& line : dials) loop.add_line(line);
    loop.add_line(young);
}

Result<void> Worker::start() { return loop.start(number); }

void Worker::stop() {
    loop.stop([this] {
        acceptor.close_all();
        connections.for_each([](TcpSession& session) { session.cut(); });
        udp.close_all();
    });
}

void Worker::stop_serving(const std::unordered_set<ListenerId>& listeners) {
    for (const auto id : listeners) {
        acceptor.remove(id);
        udp.remove(id);
    }
}

void Worker::end_abandoned(const std::shared_ptr<Service>& service, TimePoint left) {
    if (!service->has_lane(number)) return;
    auto& lane = service->lane(number);
    lane.sessions.for_each([&](UdpSession& session) {
        if (service->abandoned(session.endpoint())) udp.end(session);
    });
    const auto& drain = shared.options.drain;
    if (!drain) return;
    if (drain->count() <= 0) return cut_gone_since(left, lane, *service);
    loop.at(left + *drain, [&lane, service, left] { cut_gone_since(left, lane, *service); });
}

// Not those of an endpoint that has come back by then, or left later: also if it had left then already, and came back
// in between.
void Worker::cut_gone_since(TimePoint left, Lane& lane, Service& service) {
    lane.connections.for_each([&](TcpSession& session) {
        if (!session.established() || !service.picker().gone_since(session.endpoint(), left)) return;
        lane.counters.connections_drained.add();
        session.cut();
    });
}

}  // namespace ghostip::relay

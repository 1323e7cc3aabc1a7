#include "relay/acceptor.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "relay/socket_options.h"
#include "relay/worker.h"

namespace ghostip::relay {
namespace {

constexpr int kAcceptsAtOnce = 32;                    // of one socket; then others have their turn
constexpr std::chrono::milliseconds kLimitPause{20};  // other threads' connections end unseen
constexpr std::chrono::milliseconds kDescriptorsPause{100};

}  // namespace

// A connection that gets no answer.
class Acceptor::Held final : public Timed {
  public:
    Held(Fd socket, Quota& quota) : socket_(std::move(socket)), quota_(quota) {}
    ~Held() override {
        reset(std::move(socket_));
        quota_.give_back();
    }
    void on_deadline() override { delete this; }

  private:
    Fd socket_;
    Quota& quota_;
};

Acceptor::Acceptor(Worker& worker)
    : worker_(worker),
      held_(worker.shared.options.timeouts.hold),
      looks_{Line(kLimitPause), Line(kDescriptorsPause)},
      look_(*this) {
    worker_.loop.add_line(held_);
    for (auto& line : looks_) worker_.loop.add_line(line);
}

Result<void> Acceptor::add(const std::shared_ptr<const Listening>& listening, const std::shared_ptr<const Fd>& socket,
                           Sharing sharing) {
    const std::uint32_t events = sharing == Sharing::kShared ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN;
    auto source = std::make_unique<Source>(*this, listening, socket, events);
    if (!worker_.loop.watch(socket->get(), events, *source))
        return fail_errno("watch for clients of {}", listening->spec.address.text());
    sources_[listening->id].push_back(std::move(source));
    return {};
}

void Acceptor::remove(ListenerId listener) {
    const auto found = sources_.find(listener);
    if (found == sources_.end()) return;
    // Not left to close(): where others have the same socket, it would go on being watched.
    for (const auto& source : found->second)
        if (!source->muted) worker_.loop.ignore(source->socket->get());
    sources_.erase(found);
}

void Acceptor::close_all() {
    while (!sources_.empty()) remove(sources_.begin()->first);
    while (auto* held = held_.first()) held->on_deadline();
}

void Acceptor::pause(Pause why) {
    if (paused_) return;
    paused_ = true;
    why_ = why;
    auto& count = why == Pause::kLimit ? worker_.shared.pauses_limit : worker_.shared.pauses_descriptors;
    count.fetch_add(1, std::memory_order_relaxed);
    look_again();
}

void Acceptor::look_again() {
    if (!look_.linked()) looks_[static_cast<std::size_t>(why_)].start(look_, worker_.loop.now());
}

void Acceptor::look() {
    if (!paused_) return;
    if (worker_.shared.connections.full() || !worker_.spare.ready()) return look_again();
    resume();
}

void Acceptor::resume() {
    paused_ = false;
    for (const auto& [listener, sources] : sources_)
        for (const auto& source : sources) {
            if (!source->muted) continue;
            source->muted = !worker_.loop.watch(source->socket->get(), source->events, *source);
            if (source->muted) pause(Pause::kDescriptors);
        }
}

void Acceptor::on_clients(Source& source) {
    if (!paused_) return accept_from(source);
    worker_.loop.ignore(source.socket->get());
    source.muted = true;
}

// One call more than there are clients is one for nothing. Those who are left are told of again.
void Acceptor::accept_from(Source& source) {
    int taken = 0;
    while (taken < source.burst && accept_one(source)) ++taken;
    source.burst = taken < source.burst ? std::max(taken, 1) : std::min(2 * source.burst, kAcceptsAtOnce);
}

bool Acceptor::accept_one(Source& source) {
    if (paused_) return false;
    if (!worker_.shared.connections.take()) {
        pause(Pause::kLimit);
        return false;
    }
    if (!worker_.spare.ready()) {
        give_place_back();
        pause(Pause::kDescriptors);
        return false;
    }
    KernelAddress peer;
    Fd socket(::accept4(source.socket->get(), peer.get(), &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    const int error = socket ? 0 : errno;
    const auto client = socket ? peer.value() : std::nullopt;
    if (!client) {
        give_place_back();
        if (exhausted(error)) pause(Pause::kDescriptors);
        return error == ECONNABORTED || error == EINTR || error == EPROTO;  // that client has gone
    }
    try {
        admit(*source.listening, std::move(socket), *client);
    } catch (const std::bad_alloc&) {
        give_place_back();
        pause(Pause::kDescriptors);
    }
    return true;
}

void Acceptor::admit(const Listening& listening, Fd socket, const SocketAddress& client) {
    const auto& spec = listening.spec;
    auto service = listening.service;
    auto verdict = Answer::Verdict::kServe;
    SocketAddress destination = spec.address;
    if (spec.ask || service->picker().proxy_protocol() != ProxyProtocol::kNone) {
        const auto own = own_address(socket.get()).value_or(spec.address);
        destination = original_destination(socket.get(), own);
        if (spec.ask) {
            const auto answer = spec.ask({listening.id, spec.protocol, client, own, destination});
            verdict = answer.verdict;
            if (auto other = worker_.shared.services.find(answer.service)) service = std::move(other);
        }
    }
    auto& counters = service->lane(worker_.number).counters;
    if (verdict == Answer::Verdict::kServe && service->enter())
        return TcpSession::start(worker_, {std::move(socket), client, destination, std::move(service)});
    if (verdict == Answer::Verdict::kDrop) {
        counters.refuse(Refusal::kDropped);
        hold(std::move(socket));
    } else {
        counters.refuse(verdict == Answer::Verdict::kServe ? Refusal::kServiceLimit : Refusal::kPolicy);
        reset(std::move(socket));
    }
    give_place_back();
}

void Acceptor::give_place_back() { worker_.shared.connection_ended(); }

void Acceptor::hold(Fd socket) {
    auto& quota = worker_.shared.held;
    if (!quota.take()) {
        auto* oldest = held_.first();
        if (oldest == nullptr) return reset(std::move(socket));  // other threads hold as many as may be
        oldest->on_deadline();
        if (!quota.take()) return reset(std::move(socket));
    }
    auto* held = new (std::nothrow) Held(std::move(socket), quota);
    if (held == nullptr) return (void)quota.give_back();  // it is closed
    held_.start(*held, worker_.loop.now());
}

}  // namespace ghostip::relay

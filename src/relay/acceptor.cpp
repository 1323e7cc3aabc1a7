#include "relay/acceptor.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <new>
#include <utility>

#include "relay/socket_options.h"
#include "relay/worker.h"

namespace ghostip::relay {
namespace {

constexpr std::size_t kSourcesAtOnce = 64;
constexpr int kAcceptsAtOnce = 32;                    // of one socket; then others have their turn
constexpr std::chrono::milliseconds kLimitPause{20};  // other threads' connections end unseen
constexpr std::chrono::milliseconds kDescriptorsPause{100};

bool exhausted(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

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

Acceptor::Acceptor(Worker& worker) : worker_(worker), held_(worker.shared.options.timeouts.hold) {
    worker_.loop.add_line(held_);
}

Result<void> Acceptor::prepare() {
    set_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!set_) return fail_errno("start thread {} of the relay", worker_.number);
    return {};
}

Result<void> Acceptor::add(const std::shared_ptr<const Listening>& listening, const std::shared_ptr<const Fd>& socket,
                           Sharing sharing) {
    auto source = std::make_unique<Source>(Source{listening, socket});
    epoll_event event{};
    event.events = sharing == Sharing::kShared ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN;
    event.data.ptr = source.get();
    if (::epoll_ctl(set_.get(), EPOLL_CTL_ADD, socket->get(), &event) < 0)
        return fail_errno("watch for clients of {}", listening->spec.address.text());
    sources_[listening->id].push_back(std::move(source));
    return {};
}

void Acceptor::remove(ListenerId listener) {
    const auto found = sources_.find(listener);
    if (found == sources_.end()) return;
    // Not left to close(): where others have the same socket, it would stay in the set.
    for (const auto& source : found->second) ::epoll_ctl(set_.get(), EPOLL_CTL_DEL, source->socket->get(), nullptr);
    sources_.erase(found);
}

void Acceptor::close_all() {
    while (!sources_.empty()) remove(sources_.begin()->first);
    while (auto* held = held_.first()) held->on_deadline();
}

void Acceptor::pause(Pause why) {
    if (!paused_) {
        worker_.loop.ignore(set_.get());
        auto& count = why == Pause::kLimit ? worker_.shared.pauses_limit : worker_.shared.pauses_descriptors;
        count.fetch_add(1, std::memory_order_relaxed);
    }
    paused_ = true;
    why_ = why;
    if (will_resume_) return;
    will_resume_ = true;
    worker_.loop.at(worker_.loop.now() + (why == Pause::kLimit ? kLimitPause : kDescriptorsPause), [this] {
        will_resume_ = false;
        resume();
    });
}

void Acceptor::resume() {
    if (!paused_) return;
    if (worker_.shared.connections.full()) return pause(Pause::kLimit);
    if (!worker_.loop.watch(set_.get(), EPOLLIN, *this)) return pause(Pause::kDescriptors);
    paused_ = false;
}

void Acceptor::on_events(std::uint32_t /*events*/) {
    std::array<epoll_event, kSourcesAtOnce> ready{};
    const int count = ::epoll_wait(set_.get(), ready.data(), static_cast<int>(ready.size()), 0);
    for (int i = 0; i < count; ++i) {
        const auto& source = *static_cast<const Source*>(ready[static_cast<std::size_t>(i)].data.ptr);
        if (!accept_from(source)) return;
    }
}

bool Acceptor::accept_from(const Source& source) {
    for (int i = 0; i < kAcceptsAtOnce && !paused_; ++i) {
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
            if (error == ECONNABORTED || error == EINTR || error == EPROTO) continue;  // that client has gone
            return !exhausted(error);
        }
        try {
            admit(*source.listening, std::move(socket), *client);
        } catch (const std::bad_alloc&) {
            give_place_back();
            pause(Pause::kDescriptors);
            return false;
        }
    }
    return !paused_;
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
    held_.start(*new Held(std::move(socket), quota), worker_.loop.now());
}

}  // namespace ghostip::relay

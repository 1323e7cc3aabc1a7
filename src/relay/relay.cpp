#include "relay/relay.h"

#include <fcntl.h>
#include <sched.h>

#include <algorithm>
#include <functional>
#include <latch>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "relay/listen_sockets.h"
#include "relay/shared.h"
#include "relay/worker.h"

namespace ghostip::relay {
namespace {

// What a container's limits leave, not what the machine has.
unsigned usable_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return static_cast<unsigned>(CPU_COUNT(&set));
    return std::max(std::thread::hardware_concurrency(), 1U);
}

class ThreadedRelay final : public Relay {
  public:
    ThreadedRelay(const Options& options, unsigned threads) : shared_(options, threads) {}
    ~ThreadedRelay() override {
        for (auto& worker : workers_) worker->stop();
    }
    ThreadedRelay(const ThreadedRelay&) = delete;
    ThreadedRelay& operator=(const ThreadedRelay&) = delete;

    Result<void> start() {
        for (unsigned i = 0; i < shared_.threads; ++i) {
            workers_.push_back(std::make_unique<Worker>(shared_, i));
            RETURN_IF_ERROR(workers_.back()->start());
        }
        return {};
    }

    ServiceId add_service(Pool pool, ServiceLimits limits) override {
        const std::lock_guard lock(mutex_);
        const ServiceId id{++last_id_};
        auto service =
            std::make_shared<Service>(id, std::move(pool), shared_.options.limits.affinity_clients, shared_.threads);
        service->set_limit(connections_of(limits));
        shared_.services.add(std::move(service));
        return id;
    }

    Result<void> set_pool(ServiceId id, Pool pool) override {
        const std::lock_guard lock(mutex_);
        ASSIGN_OR_RETURN(const auto service, find(id));
        if (service->picker().replace(std::move(pool))) end_abandoned(service);
        return {};
    }

    Result<void> set_limits(ServiceId id, ServiceLimits limits) override {
        const std::lock_guard lock(mutex_);
        ASSIGN_OR_RETURN(const auto service, find(id));
        service->set_limit(connections_of(limits));
        return {};
    }

    void remove_service(ServiceId id) override {
        const std::lock_guard lock(mutex_);
        const auto service = shared_.services.remove(id);
        if (!service) return;
        std::vector<ListenerId> its;
        for (const auto& [listener, listening] : listeners_)
            if (listening->service == service) its.push_back(listener);
        for (const auto listener : its) close_one(listener);
        service->remove();
        end_abandoned(service);
    }

    Result<ListenerId> listen(ListenerSpec spec) override {
        const std::lock_guard lock(mutex_);
        ASSIGN_OR_RETURN(const auto service, find(spec.service));
        const unsigned count = spec.sockets == 0 ? shared_.threads : spec.sockets;
        ASSIGN_OR_RETURN(auto sockets, open_sockets(spec, count, shared_.options.limits, shared_.options.timeouts));
        return serve(std::move(spec), service, std::move(sockets));
    }

    Result<ListenerId> adopt(ListenerSpec spec, std::vector<Fd> sockets) override {
        const std::lock_guard lock(mutex_);
        ASSIGN_OR_RETURN(const auto service, find(spec.service));
        RETURN_IF_ERROR(prepare_adopted(spec, sockets, shared_.options.timeouts));
        return serve(std::move(spec), service, std::move(sockets));
    }

    Result<SocketAddress> address(ListenerId id) const override {
        const std::lock_guard lock(mutex_);
        const auto found = listeners_.find(id);
        if (found == listeners_.end()) return no_listener(id);
        return found->second->spec.address;
    }

    Result<std::vector<Fd>> duplicate(ListenerId id) const override {
        const std::lock_guard lock(mutex_);
        const auto found = listeners_.find(id);
        if (found == listeners_.end()) return no_listener(id);
        std::vector<Fd> copies;
        for (const auto& socket : found->second->sockets) {
            Fd copy(::fcntl(socket->get(), F_DUPFD_CLOEXEC, 0));
            if (!copy) return fail_errno("duplicate the listener at {}", found->second->spec.address.text());
            copies.push_back(std::move(copy));
        }
        return copies;
    }

    void close(ListenerId id) override {
        const std::lock_guard lock(mutex_);
        close_one(id);
    }

    void close_all_listeners() override {
        const std::lock_guard lock(mutex_);
        while (!listeners_.empty()) close_one(listeners_.begin()->first);
    }

    bool wait_until_idle(std::chrono::milliseconds longest) const override { return shared_.wait_until_idle(longest); }

    Result<ServiceMetrics> metrics(ServiceId id) const override {
        ASSIGN_OR_RETURN(const auto service, find(id));
        return service->metrics();
    }

    RelayMetrics metrics() const override {
        RelayMetrics now;
        now.connections_open = shared_.connections.taken();
        now.sessions_open = shared_.sessions.taken();
        now.held_connections = shared_.held.taken();
        now.accept_pauses_limit = shared_.pauses_limit.load(std::memory_order_relaxed);
        now.accept_pauses_descriptors = shared_.pauses_descriptors.load(std::memory_order_relaxed);
        return now;
    }

  private:
    [[nodiscard]] static Error no_listener(ListenerId id) {
        return fail("relay: there is no listener {}", static_cast<std::uint64_t>(id));
    }
    [[nodiscard]] Result<std::shared_ptr<Service>> find(ServiceId id) const {
        auto service = shared_.services.find(id);
        if (!service) return fail("relay: there is no service {}", static_cast<std::uint64_t>(id));
        return service;
    }
    [[nodiscard]] std::uint32_t connections_of(const ServiceLimits& limits) const {
        return limits.connections != 0 ? limits.connections : shared_.options.limits.connections_per_service;
    }

    // Returns when all threads have done it.
    void on_all(const std::function<void(Worker&)>& task) {
        std::latch left(static_cast<std::ptrdiff_t>(workers_.size()));
        for (auto& worker : workers_)
            worker->loop.post([&task, &left, &worker = *worker] {
                task(worker);
                left.count_down();
            });
        left.wait();
    }

    void end_abandoned(const std::shared_ptr<Service>& service) {
        on_all([&](Worker& worker) { worker.end_abandoned(service); });
    }

    Result<ListenerId> serve(ListenerSpec spec, std::shared_ptr<Service> service, std::vector<Fd> sockets) {
        const auto listening = std::make_shared<Listening>();
        listening->id = ListenerId{++last_id_};
        listening->spec = std::move(spec);
        listening->service = std::move(service);
        for (auto& socket : sockets) listening->sockets.push_back(std::make_shared<const Fd>(std::move(socket)));
        listeners_.emplace(listening->id, listening);
        if (auto served = listening->spec.protocol == net::Protocol::kTcp ? serve_tcp(listening) : serve_udp(listening);
            !served) {
            close_one(listening->id);
            return std::move(served).error();
        }
        return listening->id;
    }

    // Each socket has a thread and each thread a socket, whichever there are more of.
    Result<void> serve_tcp(const std::shared_ptr<const Listening>& listening) {
        const auto sockets = listening->sockets.size();
        const auto sharing = sockets < workers_.size() ? Acceptor::Sharing::kShared : Acceptor::Sharing::kAlone;
        for (std::size_t i = 0; i < std::max(sockets, workers_.size()); ++i) {
            auto& worker = *workers_[i % workers_.size()];
            const auto& socket = listening->sockets[i % sockets];
            Result<void> added;
            worker.loop.call([&] { added = worker.acceptor.add(listening, socket, sharing); });
            RETURN_IF_ERROR(std::move(added));
        }
        return {};
    }

    // A client's datagrams must meet its session, hence one thread for each socket.
    Result<void> serve_udp(const std::shared_ptr<const Listening>& listening) {
        const auto start = static_cast<std::size_t>(listening->id);
        for (std::size_t i = 0; i < listening->sockets.size(); ++i) {
            auto& worker = *workers_[(start + i) % workers_.size()];
            Result<void> added;
            worker.loop.call([&] { added = worker.udp.add(listening, listening->sockets[i]); });
            RETURN_IF_ERROR(std::move(added));
        }
        return {};
    }

    void close_one(ListenerId id) {
        on_all([&](Worker& worker) {
            worker.acceptor.remove(id);
            worker.udp.remove(id);
        });
        listeners_.erase(id);
    }

    mutable Shared shared_;
    std::vector<std::unique_ptr<Worker>> workers_;  // constant after start()

    mutable std::mutex mutex_;
    std::uint64_t last_id_ = 0;                                         // guarded by mutex_
    std::map<ListenerId, std::shared_ptr<const Listening>> listeners_;  // guarded by mutex_
};

}  // namespace

Result<std::unique_ptr<Relay>> Relay::start(const Options& options) {
    const unsigned threads = options.threads == 0 ? usable_cores() : options.threads;
    auto relay = std::make_unique<ThreadedRelay>(options, threads);
    RETURN_IF_ERROR(relay->start());
    return std::unique_ptr<Relay>(std::move(relay));
}

}  // namespace ghostip::relay

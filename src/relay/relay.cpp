#include "relay/relay.h"

#include <fcntl.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <iterator>
#include <latch>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_set>
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
        const auto drain = shared_.options.drain.value_or(std::chrono::milliseconds(0));
        auto service = std::make_shared<Service>(id, std::move(pool), shared_.options.limits.affinity_clients, drain,
                                                 shared_.threads);
        service->set_limit(connections_of(limits));
        shared_.services.add(std::move(service));
        return id;
    }

    Result<void> set_pool(ServiceId id, Pool pool) override {
        const std::lock_guard lock(mutex_);
        ASSIGN_OR_RETURN(const auto service, find(id));
        const auto now = Clock::now();
        if (service->picker().replace(std::move(pool), now)) end_abandoned(service, now);
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
        // Also for clients whose endpoint is being dialled just now: they hold the service, and would pick from it.
        const auto now = Clock::now();
        service->picker().clear(now);
        end_abandoned(service, now);
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
        RETURN_IF_ERROR(prepare_adopted(spec, sockets, shared_.options.limits, shared_.options.timeouts));
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

    std::vector<UdpClient> hold(std::span<const ListenerId> ids) override {
        const std::lock_guard lock(mutex_);
        std::unordered_set<ListenerId> listeners;
        for (const auto id : ids)
            if (listeners_.contains(id) && held_.insert(id).second) listeners.insert(id);
        std::vector<std::vector<UdpClient>> by_thread(workers_.size());
        on_all([&](Worker& worker) {
            worker.stop_serving(listeners);
            by_thread[worker.number] = worker.udp.take_out(listeners);
        });
        std::vector<UdpClient> clients;
        for (auto& some : by_thread) std::move(some.begin(), some.end(), std::back_inserter(clients));
        return clients;
    }

    Result<std::size_t> resume(std::span<const ListenerId> ids, std::vector<UdpClient> clients) override {
        const std::lock_guard lock(mutex_);
        std::vector<Part> parts(workers_.size());
        for (const auto id : ids)
            if (held_.erase(id) != 0) share_out(listeners_.at(id), parts);
        for (auto& client : clients) {
            const auto listening = listeners_.find(client.listener);
            if (listening != listeners_.end() && listening->second->spec.protocol == net::Protocol::kUdp)
                parts[thread_of(*listening->second, client.flow.socket)].clients.push_back(std::move(client));
        }
        return serve(parts);
    }

    Result<std::vector<Affinity>> affinities(ServiceId id) const override {
        ASSIGN_OR_RETURN(const auto service, find(id));
        return service->picker().affinities(Clock::now());
    }

    Result<std::size_t> remember(ServiceId id, std::vector<Affinity> earlier) override {
        ASSIGN_OR_RETURN(const auto service, find(id));
        return service->picker().remember(std::move(earlier), Clock::now());
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

    void end_abandoned(const std::shared_ptr<Service>& service, TimePoint left) {
        on_all([&](Worker& worker) { worker.end_abandoned(service, left); });
    }

    Result<ListenerId> serve(ListenerSpec spec, std::shared_ptr<Service> service, std::vector<Fd> sockets) {
        const auto listening = std::make_shared<Listening>();
        listening->id = ListenerId{++last_id_};
        listening->spec = std::move(spec);
        listening->service = std::move(service);
        for (auto& socket : sockets) listening->sockets.push_back(std::make_shared<const Fd>(std::move(socket)));
        listeners_.emplace(listening->id, listening);
        shared_.own_places.add(listening->spec.protocol, listening->spec.address);
        if (listening->spec.begin == Begin::kHeld) {
            held_.insert(listening->id);
            return listening->id;
        }
        std::vector<Part> parts(workers_.size());
        share_out(listening, parts);
        if (auto served = serve(parts); !served) {
            close_one(listening->id);
            return std::move(served).error();
        }
        return listening->id;
    }

    // What one thread is to serve.
    struct Part {
        struct Socket {
            std::shared_ptr<const Listening> listening;
            std::size_t index;
        };
        std::vector<Socket> sockets;
        std::vector<UdpClient> clients;
    };

    // TCP: each socket has a thread and each thread a socket, whichever there are more of. UDP: a client's datagrams
    // must meet its session, hence one thread for each socket.
    void share_out(const std::shared_ptr<const Listening>& listening, std::vector<Part>& parts) const {
        const auto sockets = listening->sockets.size();
        const bool tcp = listening->spec.protocol == net::Protocol::kTcp;
        for (std::size_t i = 0; i < (tcp ? std::max(sockets, workers_.size()) : sockets); ++i)
            parts[tcp ? i % workers_.size() : thread_of(*listening, i)].sockets.push_back({listening, i % sockets});
    }
    [[nodiscard]] std::size_t thread_of(const Listening& listening, std::size_t socket) const {
        return (static_cast<std::size_t>(listening.id) + socket) % workers_.size();
    }

    // How many clients go on; the first error of those who could not be served.
    Result<std::size_t> serve(std::vector<Part>& parts) {
        std::vector<Result<void>> results(parts.size());
        std::atomic<std::size_t> taken_in = 0;
        on_all([&](Worker& worker) {
            auto& part = parts[worker.number];
            for (const auto& [listening, index] : part.sockets)
                if (auto added = add(worker, listening, index); !added) results[worker.number] = std::move(added);
            for (auto& client : part.clients)
                if (worker.udp.put_in(std::move(client))) ++taken_in;
        });
        for (auto& result : results) RETURN_IF_ERROR(std::move(result));
        return taken_in.load();
    }
    Result<void> add(Worker& worker, const std::shared_ptr<const Listening>& listening, std::size_t index) const {
        if (listening->spec.protocol == net::Protocol::kUdp) return worker.udp.add(listening, index);
        const auto sharing =
            listening->sockets.size() < workers_.size() ? Acceptor::Sharing::kShared : Acceptor::Sharing::kAlone;
        return worker.acceptor.add(listening, listening->sockets[index], sharing);
    }

    void close_one(ListenerId id) {
        const std::unordered_set<ListenerId> one{id};
        on_all([&](Worker& worker) { worker.stop_serving(one); });
        held_.erase(id);
        const auto node = listeners_.extract(id);
        if (node.empty()) return;
        const auto& spec = node.mapped()->spec;
        shared_.own_places.remove(spec.protocol, spec.address);
    }

    mutable Shared shared_;
    std::vector<std::unique_ptr<Worker>> workers_;  // constant after start()

    mutable std::mutex mutex_;
    std::uint64_t last_id_ = 0;                                         // guarded by mutex_
    std::map<ListenerId, std::shared_ptr<const Listening>> listeners_;  // guarded by mutex_
    std::set<ListenerId> held_;                                         // guarded by mutex_; of listeners_
};

}  // namespace

Result<std::unique_ptr<Relay>> Relay::start(const Options& options) {
    const unsigned threads = options.threads == 0 ? usable_cores() : options.threads;
    auto relay = std::make_unique<ThreadedRelay>(options, threads);
    RETURN_IF_ERROR(relay->start());
    return std::unique_ptr<Relay>(std::move(relay));
}

}  // namespace ghostip::relay

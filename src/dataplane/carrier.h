// The relay of this process, for all dataplanes that carry traffic; with the names of its listeners, by which they go
// from one process to the next, and whose its services are. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "dataplane/relay_options.h"
#include "plan/plan.h"
#include "relay/relay.h"

namespace ghostip::dataplane {

// Node ports at localhost, of one family.
struct LocalhostCounts {
    std::atomic<std::uint64_t> listeners = 0;  // now
    std::atomic<std::uint64_t> failures = 0;   // to listen; each try counts
};

// One pool of a service port, as the relay has it.
struct CarriedPool {
    plan::ServicePortName service_port;
    net::Family family = net::Family::kIpv4;
    plan::PoolScope scope = plan::PoolScope::kCluster;

    // By which another process knows it; must stay what it is.
    [[nodiscard]] std::string text() const;
    friend auto operator<=>(const CarriedPool&, const CarriedPool&) = default;
};

// Who holds on to listeners while this process is gone, so that clients wait instead of being refused.
class ListenerKeeper {
  public:
    virtual ~ListenerKeeper() = default;
    virtual void keep(const std::string& name, const std::vector<Fd>& sockets) = 0;
    virtual void forget(const std::string& name) = 0;
};

class Carrier {
  public:
    struct NamedListener {
        std::string name;
        net::Protocol protocol = net::Protocol::kTcp;
        std::vector<Fd> sockets;  // all at one address
    };
    // Listeners that a process before this one had, by their names.
    using Inheritance = std::map<std::string, std::vector<Fd>>;
    // kServes: at what is inherited, until resume(); nobody is served there before.
    enum class Predecessor : std::uint8_t { kGone, kServes };

    // `keeper` may be null.
    [[nodiscard]] static Result<std::shared_ptr<Carrier>> start(const RelayOptions& options,
                                                                Inheritance inheritance = {},
                                                                std::shared_ptr<ListenerKeeper> keeper = nullptr,
                                                                Predecessor predecessor = Predecessor::kGone);
    Carrier(const Carrier&) = delete;
    Carrier& operator=(const Carrier&) = delete;

    [[nodiscard]] relay::Relay& relay() { return *relay_; }
    [[nodiscard]] const relay::Relay& relay() const { return *relay_; }
    // 0: this process may not set marks.
    [[nodiscard]] std::uint32_t mark() const { return mark_; }

    [[nodiscard]] relay::ServiceId add(CarriedPool whose, relay::Pool pool);
    void remove(relay::ServiceId service);

    // At an inherited socket of that name if there is one that fits, else anew. A spec without a service has one with
    // no endpoints, for whoever its `ask` sends nowhere.
    [[nodiscard]] Result<relay::ListenerId> listen(std::string name, relay::ListenerSpec spec);
    void close(relay::ListenerId listener);
    // Whether another process of ours has listeners here too, of which this one may know nothing: a successor has their
    // duplicates, or the predecessor gave none.
    void set_another(bool there) { another_ = there; }
    // This process ends, and its listeners are left to the keeper: whatever is closed from now on is not forgotten.
    void leave_to_keeper() { leaving_ = true; }
    // Closes what was inherited and not asked for.
    void forget_inheritance();
    // Other descriptors of all that listens here. One that cannot be duplicated is left out.
    [[nodiscard]] std::vector<NamedListener> duplicates() const;

    // --- who serves at a listener that two processes have
    // Names of those where another process serves.
    [[nodiscard]] std::vector<std::string> held() const;
    // A successor is about to serve at these, and this process no more; what it is to know of clients.
    [[nodiscard]] relay::Clients let_go(const std::vector<std::string>& names);
    // This process serves at all that is held, and goes on with these clients. An error: not at all of it.
    struct Resumed {
        std::size_t sessions = 0;    // that go on
        std::size_t affinities = 0;  // that are remembered: of pools that are here, with the endpoint in them
    };
    [[nodiscard]] Result<Resumed> resume(relay::Clients clients);

    [[nodiscard]] std::vector<std::pair<CarriedPool, relay::ServiceMetrics>> metrics() const;
    [[nodiscard]] LocalhostCounts& localhost(net::Family family) {
        return family == net::Family::kIpv4 ? localhost_ipv4_ : localhost_ipv6_;
    }

  private:
    Carrier(std::unique_ptr<relay::Relay> relay, std::uint32_t mark, Inheritance inheritance,
            std::shared_ptr<ListenerKeeper> keeper, Predecessor predecessor)
        : relay_(std::move(relay)),
          nobody_(relay_->add_service({})),
          mark_(mark),
          keeper_(std::move(keeper)),
          predecessor_(predecessor),
          inheritance_(std::move(inheritance)) {}
    [[nodiscard]] std::vector<Fd> inherited(const std::string& name);
    [[nodiscard]] Result<relay::ListenerId> listen_anew(relay::ListenerSpec spec);
    [[nodiscard]] bool shares_ports() const;
    [[nodiscard]] Result<relay::ListenerId> adopt(relay::ListenerSpec spec, std::vector<Fd> sockets);

    struct Named {
        std::string name;
        net::Protocol protocol;
    };
    const std::unique_ptr<relay::Relay> relay_;
    const relay::ServiceId nobody_;
    const std::uint32_t mark_;
    const std::shared_ptr<ListenerKeeper> keeper_;  // null: nobody
    std::atomic<bool> leaving_ = false;
    std::atomic<bool> another_ = false;
    LocalhostCounts localhost_ipv4_;
    LocalhostCounts localhost_ipv6_;
    mutable std::mutex mutex_;
    Predecessor predecessor_;                                     // guarded by mutex_
    Inheritance inheritance_;                                     // guarded by mutex_
    std::set<relay::ListenerId> held_;                            // guarded by mutex_
    std::map<relay::ListenerId, Named> listeners_;                // guarded by mutex_
    std::unordered_map<relay::ServiceId, CarriedPool> services_;  // guarded by mutex_
};

}  // namespace ghostip::dataplane

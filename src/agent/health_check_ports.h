// Health-check node ports: load balancers ask there whether this node has endpoints of a Service
// (spec.healthCheckNodePort of a load balancer with external policy Local).
//
// All ports of both families are served by one thread (http/server.h). Belongs to the agent's loop, which it does not
// hold up: a socket that listens is three system calls. Only answers are given on the server's thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "agent/health.h"
#include "base/result.h"
#include "http/server.h"
#include "plan/plan.h"

namespace ghostip::agent {

class HealthCheckPorts {
  public:
    using Time = std::chrono::steady_clock::time_point;
    // For an event on the Service. Called at every try that fails.
    using OnListenFailed = std::function<void(const plan::ServiceName&, std::uint16_t port, const Error&)>;

    // What could not listen is tried again by settle(), once a second at most, and by tick() after this time.
    static constexpr std::chrono::seconds kRetry{30};

    // `health` says whether the proxy is well, and outlives this.
    HealthCheckPorts(const Health& health, OnListenFailed on_listen_failed);
    ~HealthCheckPorts();
    HealthCheckPorts(const HealthCheckPorts&) = delete;
    HealthCheckPorts& operator=(const HealthCheckPorts&) = delete;

    // For who leaves after one sync: nothing is opened.
    void stay_closed() { stay_closed_ = true; }
    // All are closed until resume(), for a successor that wants them.
    void suspend();
    void resume(Time now);
    // Takes from the delta what concerns these ports; nothing happens before settle().
    void take(net::Family family, const plan::Delta& delta);
    // The kernel holds what was taken: opens, closes, and answers with the new numbers.
    void settle(net::Family family, Time now);

    // When tick() will next have something to do.
    [[nodiscard]] Time due() const;
    void tick(Time now);

    // How many Services are served in the family.
    [[nodiscard]] std::size_t open(net::Family family) const;

  private:
    using Key = std::pair<net::Family, plan::ServiceName>;
    struct Wanted {
        std::optional<plan::HealthCheck> check;
        std::uint64_t tag = 0;         // of its sockets; 0: it has none
        std::uint16_t listens_on = 0;  // the port of its sockets
        std::string failure;           // what was told last
    };
    struct Answering {
        plan::ServiceName service;
        std::uint32_t local_endpoints = 0;
    };

    void settle(const Key& key, Time now);
    void close(Wanted& wanted);
    [[nodiscard]] Result<void> listen(const Key& key, Wanted& wanted);
    [[nodiscard]] http::Response answer(const http::Request& request) const;

    const Health& health_;
    const OnListenFailed on_listen_failed_;
    std::map<Key, Wanted> wanted_;
    std::set<Key> changed_;  // since they were settled
    std::set<Key> failed_;   // could not listen
    std::map<net::Family, plan::NodePortAddresses> addresses_;
    Time retry_at_ = Time::max();
    Time retry_allowed_at_ = Time::min();
    std::uint64_t last_tag_ = 0;
    bool stay_closed_ = false;

    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, Answering> answering_;  // guarded by mutex_; by tag
    std::unique_ptr<http::Server> server_;                    // null until the first port; last: it uses the rest
};

}  // namespace ghostip::agent

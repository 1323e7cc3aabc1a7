// Picks endpoints out of a pool, and remembers where clients went. Any thread: the order of a round robin is one for
// all threads, so a mutex guards it; it is held for the time of a look-up.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "relay/clients.h"
#include "relay/pool.h"

namespace ghostip::relay {

class Picker {
  public:
    using TimePoint = std::chrono::steady_clock::time_point;

    // Remembers at most so many clients, and for so long when an endpoint left.
    Picker(Pool pool, std::uint32_t most_clients, std::chrono::milliseconds departures = {});

    // Absent: the pool is empty. `tried` failed for this client just now: none of them is picked while there is
    // another, and where the client went before does not count.
    [[nodiscard]] std::optional<SocketAddress> pick(const net::IpAddress& client, TimePoint now,
                                                    std::span<const SocketAddress> tried = {});
    // True: endpoints have left. Clients who went to them are forgotten; the order is kept if the set is the same.
    bool replace(Pool pool, TimePoint now);
    // All endpoints leave; the rest of the pool stays as it is.
    void clear(TimePoint now);
    [[nodiscard]] bool contains(const SocketAddress& endpoint) const;
    // Whether it was gone at that time, and has not come back since. Of times that are not remembered any more: yes.
    [[nodiscard]] bool gone_since(const SocketAddress& endpoint, TimePoint when) const;
    // Another one after each replace() and clear().
    [[nodiscard]] std::uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
    [[nodiscard]] ProxyProtocol proxy_protocol() const { return proxy_protocol_.load(std::memory_order_relaxed); }
    [[nodiscard]] std::size_t remembered() const;
    // Where clients go whose time is not over.
    [[nodiscard]] std::vector<Affinity> affinities(TimePoint now) const;
    // They went there with another picker, before they came here; who has come here since goes where that led. How many
    // are remembered: those whose endpoint is in the pool and whose time is not over, the latest before others.
    std::size_t remember(std::vector<Affinity> earlier, TimePoint now);

  private:
    struct Seen {
        SocketAddress endpoint;
        TimePoint last;
        std::list<net::IpAddress>::iterator place;  // in order_
    };

    void note_departures(const std::unordered_set<SocketAddress>& staying, TimePoint now);
    [[nodiscard]] SocketAddress next(std::span<const SocketAddress> tried);
    [[nodiscard]] const SocketAddress* where_it_went(const net::IpAddress& client, TimePoint now);
    void remember(const net::IpAddress& client, const SocketAddress& endpoint, TimePoint now);
    void insert(std::list<net::IpAddress>::const_iterator before, const net::IpAddress& client,
                const SocketAddress& endpoint, TimePoint last);
    void forget_oldest();
    [[nodiscard]] bool expired(const Seen& seen, TimePoint now) const;

    const std::uint32_t most_clients_;
    const std::chrono::milliseconds departures_;
    std::atomic<std::uint64_t> generation_ = 0;
    std::atomic<ProxyProtocol> proxy_protocol_;

    mutable std::mutex mutex_;
    Pool pool_;                                          // guarded by mutex_
    std::unordered_set<SocketAddress> members_;          // guarded by mutex_
    std::unordered_map<SocketAddress, TimePoint> left_;  // guarded by mutex_; who is not in the pool, and since when
    std::size_t index_ = 0;                              // guarded by mutex_; the next of a round robin
    std::minstd_rand random_;                            // guarded by mutex_
    std::unordered_map<net::IpAddress, Seen> clients_;   // guarded by mutex_
    std::list<net::IpAddress> order_;                    // guarded by mutex_; not seen for longest first
};

}  // namespace ghostip::relay

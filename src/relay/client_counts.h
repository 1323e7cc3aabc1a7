// How many UDP sessions each client address has. Any thread: the ports of one address meet all threads, since the
// kernel spreads them over the sockets of a listener. Asked when a session begins or ends, never for a datagram of one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "net/address.h"

namespace ghostip::relay {

class ClientCounts {
  public:
    explicit ClientCounts(std::uint32_t limit) : limit_(limit) {}
    // False: it has as many as it may. Each true wants a give_back().
    [[nodiscard]] bool take(const net::IpAddress& client) {
        auto& part = part_of(client);
        const std::lock_guard lock(part.mutex);
        const auto taken = part.taken.try_emplace(client).first;
        if (taken->second < limit_) {
            ++taken->second;
            return true;
        }
        if (taken->second == 0) part.taken.erase(taken);
        return false;
    }
    void give_back(const net::IpAddress& client) {
        auto& part = part_of(client);
        const std::lock_guard lock(part.mutex);
        const auto taken = part.taken.find(client);
        if (--taken->second == 0) part.taken.erase(taken);
    }
    // Addresses that have any.
    [[nodiscard]] std::size_t clients() const {
        std::size_t sum = 0;
        for (const auto& part : parts_) {
            const std::lock_guard lock(part.mutex);
            sum += part.taken.size();
        }
        return sum;
    }

  private:
    // A flood of new addresses takes a lock for each; threads seldom want the same one.
    struct alignas(64) Part {
        mutable std::mutex mutex;
        std::unordered_map<net::IpAddress, std::uint32_t> taken;  // guarded by mutex
    };
    [[nodiscard]] Part& part_of(const net::IpAddress& client) {
        return parts_[std::hash<net::IpAddress>{}(client) % parts_.size()];
    }

    const std::uint32_t limit_;
    std::array<Part, 16> parts_;
};

}  // namespace ghostip::relay

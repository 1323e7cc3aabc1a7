// Where this relay listens, so that it does not dial itself: a service that has one of its own listeners for an
// endpoint would go round in a circle until nothing is left of any limit. Any thread.
#pragma once

#include <map>
#include <shared_mutex>
#include <utility>

#include "net/protocol.h"
#include "relay/socket_address.h"

namespace ghostip::relay {

class OwnPlaces {
  public:
    // `at` may have a wildcard address. Several listeners may be at one place.
    void add(net::Protocol protocol, const SocketAddress& at);
    void remove(net::Protocol protocol, const SocketAddress& at);
    // Whether who dials `peer` from here meets a listener of this relay. Nothing is sent.
    [[nodiscard]] bool has(net::Protocol protocol, const SocketAddress& peer) const;

  private:
    mutable std::shared_mutex mutex_;
    std::map<std::pair<net::Protocol, SocketAddress>, unsigned> places_;  // how many; guarded by mutex_
};

}  // namespace ghostip::relay

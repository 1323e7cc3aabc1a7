#include "relay/own_places.h"

#include <mutex>

#include "base/fd.h"

namespace ghostip::relay {
namespace {

// Who dials an address of this host does so from that address: the kernel takes it for the source.
bool is_of_this_host(const SocketAddress& peer) {
    const Fd asking(::socket(peer.address.is_ipv4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const KernelAddress to(peer);
    if (!asking || ::connect(asking.get(), to.get(), to.size) != 0) return false;
    const auto own = own_address(asking.get());
    return own && own->address == peer.address;
}

}  // namespace

void OwnPlaces::add(net::Protocol protocol, const SocketAddress& at) {
    const std::unique_lock lock(mutex_);
    ++places_[{protocol, at}];
}

void OwnPlaces::remove(net::Protocol protocol, const SocketAddress& at) {
    const std::unique_lock lock(mutex_);
    const auto found = places_.find({protocol, at});
    if (found != places_.end() && --found->second == 0) places_.erase(found);
}

bool OwnPlaces::has(net::Protocol protocol, const SocketAddress& peer) const {
    {
        const std::shared_lock lock(mutex_);
        if (places_.contains({protocol, peer})) return true;
        if (!places_.contains({protocol, {net::IpAddress(peer.address.family()), peer.port}})) return false;
    }
    return is_of_this_host(peer);
}

}  // namespace ghostip::relay

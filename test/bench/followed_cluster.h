// A cluster of Services at an API server of this process, and a proxy that follows it: what measurements and the soak
// share. Each change gives one endpoint of one Service an address that nobody had before.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/objects.h"
#include "bench/measured_proxy.h"
#include "bench/world.h"
#include "kubernetes/api_server.h"

namespace ghostip::bench {

[[nodiscard]] api::Object service_object(int number);
// Its endpoints are numbered from `first` on.
[[nodiscard]] std::shared_ptr<api::EndpointSlice> slice_object(int number, int endpoints, int first);

class FollowedCluster {
  public:
    // What a change was.
    struct Change {
        int service = 0;
        net::IpAddress endpoint;  // the new one
    };

    // Puts all Services to the server, which outlives this.
    FollowedCluster(testkubernetes::ApiServer& server, Size size);
    // Services take turns in an order that is not that of their names, so that none comes again before all others.
    Change change();
    [[nodiscard]] Size size() const { return size_; }

  private:
    testkubernetes::ApiServer& server_;
    const Size size_;
    int changes_ = 0;
};

// `ghostip proxy` on this server, without its pages and without a hand on the machine's conntrack.
[[nodiscard]] Result<std::unique_ptr<RunningProxy>> follow(const testnet::Namespace& where, const std::string& binary,
                                                           const testkubernetes::ApiServer& server);

}  // namespace ghostip::bench

// Weights of endpoints, from the annotations of a Service and of its EndpointSlices. For modes that schedule.
#pragma once

#include <cstdint>
#include <vector>

#include "api/objects.h"
#include "net/address.h"
#include "plan/endpoints.h"

namespace ghostip::plan {

using EndpointWeight = api::EndpointWeight;
inline constexpr std::uint32_t kUsualWeight = 1;

// Of the endpoints in these pools, those that do not weigh as usual; sorted, each address once. A slice's word counts
// more than the Service's, and a slice's with a greater name more than another's.
[[nodiscard]] std::vector<EndpointWeight> endpoint_weights(const api::Service& service, const Slices& slices,
                                                           const Pool& cluster, const Pool& local);

// In a result of the above.
[[nodiscard]] std::uint32_t weight_of(const std::vector<EndpointWeight>& weights, const net::IpAddress& address);

}  // namespace ghostip::plan

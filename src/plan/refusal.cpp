#include "plan/refusal.h"

#include <algorithm>

#include <fmt/format.h>

#include "net/special_range.h"
#include "plan/endpoints.h"
#include "plan/external_range.h"
#include "plan/service_port.h"

namespace ghostip::plan {
namespace {

// All ports of a Service ask for the same addresses.
std::vector<Claimed> refused_claims(const api::Service* service, const std::vector<ExternalRange>& ranges,
                                    net::Family family) {
    if (service == nullptr) return {};
    auto ports = service_ports(*service, family);
    if (ports.empty()) return {};
    return refuse(ports.front(), ranges);
}

}  // namespace

std::string Refusal::text() const { return object.text() + ": " + reason; }

void note_refusals(const api::EndpointSlice* before, const api::EndpointSlice& after, std::vector<Refusal>& refusals) {
    const auto refused = refused_addresses(after);
    if (refused.empty()) return;
    const auto known = before == nullptr ? std::vector<net::IpAddress>{} : refused_addresses(*before);
    for (const auto& address : refused) {
        if (std::binary_search(known.begin(), known.end(), address)) continue;
        refusals.push_back({{api::Kind::kEndpointSlice, after.namespace_, after.name},
                            fmt::format("{} is {}, which cannot be an endpoint; left out", address.text(),
                                        net::special_range_text(net::special_range(address)))});
    }
}

void note_refusals(const api::Service* before, const api::Service& after, const std::vector<ExternalRange>& ranges,
                   net::Family family, std::vector<Refusal>& refusals) {
    if (ranges.empty()) return;
    const auto known = refused_claims(before, ranges, family);
    for (const auto& claimed : refused_claims(&after, ranges, family)) {
        const bool known_already = std::any_of(known.begin(), known.end(), [&](const auto& other) {
            return other.kind == claimed.kind && other.key.address == claimed.key.address;
        });
        if (known_already) continue;
        refusals.push_back(
            {{api::Kind::kService, after.namespace_, after.name},
             fmt::format("{} {} is in none of the ranges allowed to namespace {}; it is not served",
                         destination_kind_name(claimed.kind), claimed.key.address.text(), after.namespace_)});
    }
}

}  // namespace ghostip::plan

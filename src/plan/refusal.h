// Addresses that objects ask for and do not get, whoever else asks: what to tell of them, and when it is news.
#pragma once

#include <string>
#include <vector>

#include "api/objects.h"
#include "net/address.h"
#include "plan/node.h"

namespace ghostip::plan {

struct Refusal {
    api::ObjectKey object;
    std::string reason;  // names the address

    // `Service ns/web: external IP 1.2.3.4 is …`
    [[nodiscard]] std::string text() const;
};

// Each adds what is refused in `after` and was not refused in `before` (null: there was no such object).
void note_refusals(const api::EndpointSlice* before, const api::EndpointSlice& after, std::vector<Refusal>& refusals);
void note_refusals(const api::Service* before, const api::Service& after, const std::vector<ExternalRange>& ranges,
                   net::Family family, std::vector<Refusal>& refusals);

}  // namespace ghostip::plan

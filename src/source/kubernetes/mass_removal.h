// Whether a new full state takes away so much at once that it is rather the answer that is wrong.
//
// An API server that was restored from an empty backup, or that reads a half-filled cache, answers a list with a valid
// document in which most of the cluster is missing. Believed, it takes every node's services away within a second. The
// measure is what clients can dial and who answers: for a Service its ports times its addresses, and its node ports;
// for an EndpointSlice its ports times its endpoints. Only numbers are compared: endpoints that are replaced by as many
// others are no removal. Deletions that a watch reports one by one are not weighed: those are the server's word.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "api/source.h"
#include "source/kubernetes/object_store.h"

namespace ghostip::source::kubernetes {

struct MassRemovalLimits {
    double share = 0.3;          // of what there is; 0 or 1 and above: nothing is ever held
    std::size_t more_than = 20;  // destinations
    // How long after the first answer the second is asked for. Long enough for a cache to fill.
    std::chrono::seconds ask_again_after{5};
    // If no second answer can be had for so long, the first is believed.
    std::chrono::seconds hold_at_most{300};
};

// How many destinations an object stands for. Kinds that are not Services or EndpointSlices: 0.
[[nodiscard]] std::size_t destinations_of(const api::Object& object);

struct Removal {
    std::size_t removed = 0;  // destinations
    std::size_t of = 0;       // destinations before
};
[[nodiscard]] Removal weigh(const ObjectStore& now, const std::vector<api::Change>& changes);
[[nodiscard]] bool holds_at_all(const MassRemovalLimits& limits);
[[nodiscard]] bool is_mass_removal(const MassRemovalLimits& limits, const Removal& removal);

// Whether a change takes destinations away: what is held back of a state that is not believed.
[[nodiscard]] bool takes_away(const ObjectStore& now, const api::Change& change);

// The alarm.
struct HeldRemoval {
    std::string resource;  // `endpointslices`
    Removal removal;
    std::chrono::seconds at_most{0};
};

}  // namespace ghostip::source::kubernetes

#include "dataplane/userspace/supported.h"

#include <fmt/ranges.h>

namespace ghostip::dataplane::userspace {

std::string why_not_redirected(const Mode& redirecting, net::Family family, const Options& options) {
    if (!options.relay.redirect) return "--relay-redirect=false";
    return fmt::format("{}", fmt::join(redirecting.missing(family, options), "; "));
}

}  // namespace ghostip::dataplane::userspace

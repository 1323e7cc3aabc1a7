#include "dataplane/userspace/names.h"

#include <fmt/format.h>

namespace ghostip::dataplane::userspace {
namespace {

std::string_view text(plan::PoolScope scope) { return scope == plan::PoolScope::kCluster ? "cluster" : "local"; }

}  // namespace

std::string tcp_listener_name(net::Family family, plan::PoolScope scope) {
    return fmt::format("redirected {} TCP {}", net::family_name(family), text(scope));
}

std::string udp_listener_name(net::Family family, const plan::ServicePortName& name, plan::PoolScope scope) {
    return fmt::format("redirected {} UDP {} {}", net::family_name(family), name.text(), text(scope));
}

}  // namespace ghostip::dataplane::userspace

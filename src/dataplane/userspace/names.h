// Names of listeners, by which the next process knows them; they must stay what they are.
#pragma once

#include <string>
#include <string_view>

#include "plan/plan.h"

namespace ghostip::dataplane::userspace {

inline constexpr std::string_view kNoSctp = "SCTP is not carried where packets cannot be redirected";

[[nodiscard]] std::string tcp_listener_name(net::Family family, plan::PoolScope scope);
[[nodiscard]] std::string udp_listener_name(net::Family family, const plan::ServicePortName& name,
                                            plan::PoolScope scope);

}  // namespace ghostip::dataplane::userspace

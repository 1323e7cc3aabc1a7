// A plan in the language of ipvsadm, ipset and iptables, for people.
#pragma once

#include <string>

#include "plan/plan.h"

namespace ghostip::dataplane::ipvs {

[[nodiscard]] std::string render(const plan::Plan& plan);

// "-A -t 10.96.0.1:80 -s rr", and below it a line for each destination, as ipvsadm -S prints them.
struct Server;
[[nodiscard]] std::string text(const Server& server);

}  // namespace ghostip::dataplane::ipvs

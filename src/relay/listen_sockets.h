// Makes listening sockets, or makes those of others fit.
#pragma once

#include <memory>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "relay/limits.h"
#include "relay/listener.h"
#include "relay/service.h"

namespace ghostip::relay {

// A listener as the threads know it. Constant but for what it points to.
struct Listening {
    ListenerId id{};
    ListenerSpec spec;  // its address is the one that was bound
    std::shared_ptr<Service> service;
    std::vector<std::shared_ptr<const Fd>> sockets;
};

// `count` sockets at the spec's address, whose port is filled in where it was 0.
[[nodiscard]] Result<std::vector<Fd>> open_sockets(ListenerSpec& spec, unsigned count, const Limits& limits,
                                                   const Timeouts& timeouts);
// Whether these are what the spec says, at one address, which is filled in.
[[nodiscard]] Result<void> prepare_adopted(ListenerSpec& spec, const std::vector<Fd>& sockets, const Limits& limits,
                                           const Timeouts& timeouts);

}  // namespace ghostip::relay

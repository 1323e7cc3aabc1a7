// What the other process says in a hand-over of listeners and clients: what is taken is bounded and is written as it
// was read.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "relay/handover_wire.h"

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    namespace wire = ghostip::relay::wire;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto message = wire::parse(bytes);
    if (!message) return 0;
    require(wire::encode(*message) == bytes);
    std::size_t sockets = 0;
    for (const auto& entry : message->entries) {
        require(!entry.name.empty() && entry.name.size() <= wire::kLongestName && entry.sockets > 0);
        sockets += entry.sockets;
    }
    require(sockets <= wire::kMostDescriptors && message->sessions.size() <= wire::kMostDescriptors);
    const auto named = [](const std::string& name) { require(!name.empty() && name.size() <= wire::kLongestName); };
    std::size_t most = wire::kHead;
    for (const auto& name : message->names) {
        named(name);
        most += wire::size_of(name);
    }
    for (const auto& affinity : message->affinities) {
        named(affinity.service);
        most += wire::size_of(affinity);
    }
    for (const auto& session : message->sessions) {
        named(session.listener);
        most += wire::size_of(session);
    }
    require(most == wire::kHead || most >= size);
    return 0;
}

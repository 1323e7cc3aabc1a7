// Events (events.k8s.io/v1) as values, and as the JSON that the API server takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace ghostip::source::kubernetes {

using WallTime = std::chrono::system_clock::time_point;

// v1 ObjectReference.
struct EventObject {
    std::string api_version = "v1";
    std::string kind = {};        // `Node`
    std::string namespace_ = {};  // empty: the object has none; the event is then written to `default`
    std::string name = {};
    std::string uid = {};

    friend auto operator<=>(const EventObject&, const EventObject&) = default;
};

struct Event {
    enum class Type : std::uint8_t { kNormal, kWarning };
    Type type = Type::kNormal;
    std::string reason;  // `Starting`
    std::string action;  // `StartKubeProxy`
    EventObject regarding;
    std::string note;  // for people; cut to 1024 bytes, the API's limit
};

struct EventReporter {
    std::string controller = "kube-proxy";
    std::string instance;  // `kube-proxy-<host name>`
};

// An event that was or will be written, with its series: occurrences and the time of the last.
struct EventRecord {
    Event event;
    std::string name;
    WallTime time;
    int count = 1;
    WallTime last_observed;
};

// `<name of the object>.<nanoseconds since 1970 in hex>`; a UUID if that would be no DNS subdomain.
[[nodiscard]] std::string event_name(const EventObject& regarding, WallTime time, std::uint64_t random_high,
                                     std::uint64_t random_low);

// Where events are created.
[[nodiscard]] std::string events_path(const EventObject& regarding);
[[nodiscard]] std::string create_body(const EventReporter& reporter, const EventRecord& record);
// A strategic merge patch of the series alone.
[[nodiscard]] std::string series_patch(const EventRecord& record);

}  // namespace ghostip::source::kubernetes

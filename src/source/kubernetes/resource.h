// What is asked of an API server: one resource as a whole, and the requests that list and watch it.
//
// Paths, parameters and their order are those of client-go, so that audit logs, priority levels and caches on the way
// see nothing new. All selectors are the server's work: what they leave out never crosses the network.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/objects.h"

namespace ghostip::source::kubernetes {

struct Resource {
    api::Kind kind = api::Kind::kService;
    std::string name;            // `services`: how messages and metrics call it
    std::string path;            // `/api/v1/services`
    std::string label_selector;  // plain, not percent-encoded; empty: all
    std::string field_selector;  // the same
};

// What kube-proxy watches.
[[nodiscard]] Resource services();
[[nodiscard]] Resource endpoint_slices();
[[nodiscard]] Resource service_cidrs();
[[nodiscard]] Resource own_node(std::string_view node_name);

inline constexpr int kPageSize = 500;  // client-go's

// An empty resource version asks for the newest that a quorum of etcd knows, `0` for whatever the server has at hand,
// any other for nothing older than that.
struct ListPage {
    std::string resource_version;  // not sent with a continuation
    int limit = 0;                 // 0: all at once
    std::string continue_token;    // empty: the first page
};
[[nodiscard]] std::string list_target(const Resource& resource, const ListPage& page);

enum class InitialEvents : std::uint8_t {
    kNo,
    kSend,  // the streaming list: all that exists as ADDED, then a bookmark that says so
};
[[nodiscard]] std::string watch_target(const Resource& resource, std::string_view resource_version,
                                       std::chrono::seconds timeout, InitialEvents initial);

// Resource versions are decimal numbers where they can be compared at all; false where not.
[[nodiscard]] bool is_older(std::string_view version, std::string_view than);

}  // namespace ghostip::source::kubernetes

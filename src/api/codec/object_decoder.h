// From the tree of one object to its struct: what is common to all kinds. Each kind has its own decode_<kind>.cpp and
// one row in the table of object_decoder.cpp.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/codec/document.h"
#include "api/codec/field.h"
#include "api/objects.h"

namespace ghostip::api::codec {

// Hands the object, if it has no error, and its problems to the sink. `object`: its node in the tree.
void decode_object(const Tree& tree, const TreeNode& object, std::string_view file, const ItemType& from_list,
                   DecodeSink& sink);

// What an object of that kind says about itself, though it be wrong in all else. An empty name: nothing that can be
// read.
[[nodiscard]] ObjectKey peek_key(const Tree& tree, const TreeNode* object, Kind kind);
// For problems, from whatever there is: `Service default/web`, `Deployment shop/web`, `Service`.
[[nodiscard]] std::string describe(std::string_view kind, std::string_view namespace_, std::string_view name);

[[nodiscard]] bool is_known_kind(std::string_view kind);
// `Service, EndpointSlice, …`.
[[nodiscard]] std::string known_kinds();
// Of a known kind.
[[nodiscard]] std::string_view api_version_of(std::string_view kind);

// What each kind's decoder is given: the object, and of its metadata what is read and checked for every kind.
struct Source {
    const Field& root;
    const Field& metadata;
    std::string namespace_;  // empty for cluster-scoped kinds
    std::string name;
};

// A label's value (null counts as empty), or nothing if the object does not carry it.
[[nodiscard]] std::optional<std::string_view> label(const Source& source, std::string_view key);

// What ghostip's own annotations say. What makes no sense is named by a notice and left out.
[[nodiscard]] std::string scheduler_of(const Source& source);
[[nodiscard]] std::vector<EndpointWeight> endpoint_weights_of(const Source& source);
[[nodiscard]] std::uint8_t proxy_protocol_of(const Source& source);

[[nodiscard]] Object decode_service(Source source);
[[nodiscard]] Object decode_endpoint_slice(Source source);
[[nodiscard]] Object decode_node(Source source);
[[nodiscard]] Object decode_service_cidr(Source source);
[[nodiscard]] Object decode_pod(Source source);
[[nodiscard]] Object decode_namespace(Source source);

}  // namespace ghostip::api::codec

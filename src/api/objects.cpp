#include "api/objects.h"

#include <fmt/format.h>

namespace ghostip::api {

std::string_view kind_name(Kind kind) {
    switch (kind) {
        case Kind::kService: return "Service";
        case Kind::kEndpointSlice: return "EndpointSlice";
        case Kind::kNode: return "Node";
        case Kind::kServiceCidr: return "ServiceCIDR";
        case Kind::kPod: return "Pod";
        case Kind::kNamespace: return "Namespace";
    }
    return "?";
}

std::string ObjectKey::text() const {
    return namespace_.empty() ? fmt::format("{} {}", kind_name(kind), name)
                              : fmt::format("{} {}/{}", kind_name(kind), namespace_, name);
}

ObjectKey key_of(const Object& object) {
    return std::visit(
        [&](const auto& pointer) {
            const auto kind = static_cast<Kind>(object.index());
            if constexpr (requires { pointer->namespace_; })
                return ObjectKey{kind, pointer->namespace_, pointer->name};
            else
                return ObjectKey{kind, {}, pointer->name};
        },
        object);
}

bool same_content(const Object& a, const Object& b) {
    if (a.index() != b.index()) return false;
    return std::visit(
        [&](const auto& left) {
            const auto& right = std::get<std::decay_t<decltype(left)>>(b);
            return left == right || *left == *right;
        },
        a);
}

}  // namespace ghostip::api

std::size_t std::hash<ghostip::api::ObjectKey>::operator()(const ghostip::api::ObjectKey& key) const noexcept {
    const std::hash<std::string> text;
    return (text(key.namespace_) * 31 + text(key.name)) * 31 + static_cast<std::size_t>(key.kind);
}

// An object's key without copies of its text: views into the object, which must outlive it.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <string_view>

#include "api/objects.h"

namespace ghostip::source {

struct KeyView {
    api::Kind kind = api::Kind::kService;
    std::string_view namespace_;
    std::string_view name;

    friend auto operator<=>(const KeyView&, const KeyView&) = default;
};

[[nodiscard]] inline KeyView key_view(const api::Object& object) {
    return std::visit(
        [&](const auto& pointer) {
            const auto kind = static_cast<api::Kind>(object.index());
            if constexpr (requires { pointer->namespace_; })
                return KeyView{kind, pointer->namespace_, pointer->name};
            else
                return KeyView{kind, {}, pointer->name};
        },
        object);
}

[[nodiscard]] inline KeyView key_view(const api::ObjectKey& key) { return {key.kind, key.namespace_, key.name}; }

struct KeyViewHash {
    std::size_t operator()(const KeyView& key) const noexcept {
        const std::hash<std::string_view> text;
        return (text(key.namespace_) * 31 + text(key.name)) * 31 + static_cast<std::size_t>(key.kind);
    }
};

}  // namespace ghostip::source

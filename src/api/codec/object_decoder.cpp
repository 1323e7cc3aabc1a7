#include "api/codec/object_decoder.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "api/codec/names.h"
#include "api/codec/peek.h"

namespace ghostip::api::codec {
namespace {

enum class Scope : std::uint8_t { kCluster, kNamespaced };
enum class NameRule : std::uint8_t { kLabel, kSubdomain };

struct KindRow {
    Kind kind;
    std::string_view api_version;
    Scope scope;
    NameRule name_rule;
    Object (*decode)(Source source);
};

constexpr std::array kKinds{
    KindRow{Kind::kService, "v1", Scope::kNamespaced, NameRule::kLabel, decode_service},
    KindRow{Kind::kEndpointSlice, "discovery.k8s.io/v1", Scope::kNamespaced, NameRule::kSubdomain,
            decode_endpoint_slice},
    KindRow{Kind::kNode, "v1", Scope::kCluster, NameRule::kSubdomain, decode_node},
    KindRow{Kind::kServiceCidr, "networking.k8s.io/v1", Scope::kCluster, NameRule::kSubdomain, decode_service_cidr},
    KindRow{Kind::kPod, "v1", Scope::kNamespaced, NameRule::kSubdomain, decode_pod},
    KindRow{Kind::kNamespace, "v1", Scope::kCluster, NameRule::kLabel, decode_namespace},
};

const KindRow* find_kind(std::string_view name) {
    const auto* row = std::find_if(kKinds.begin(), kKinds.end(),
                                   [&](const KindRow& candidate) { return kind_name(candidate.kind) == name; });
    return row == kKinds.end() ? nullptr : row;
}

// Where an object of that kind, if it is one that is known, is taken to be.
std::string_view namespace_for(const KindRow* row, std::string_view given) {
    // As kubectl does; the API server takes no namespace for cluster-scoped kinds, nor would it mean anything.
    if (row != nullptr && row->scope == Scope::kCluster) return {};
    return row != nullptr && given.empty() ? "default" : given;
}

void check_name(const Field& field, NameRule rule) {
    const auto name = field.text();
    if (!name) {
        if (!field.given()) field.error("is missing");
        return;
    }
    if (name->empty()) return field.error("must not be empty");
    if (rule == NameRule::kLabel && !is_dns_label(*name)) return field.error(std::string(kDnsLabelRule));
    if (rule == NameRule::kSubdomain && !is_dns_subdomain(*name)) return field.error(std::string(kDnsSubdomainRule));
}

// The row of the object's kind, or nothing and an error.
const KindRow* check_type(const Field& root, const ItemType& from_list, std::string_view kind) {
    const Field kind_field = root.member("kind");
    if (kind.empty()) {
        // kubectl writes `items` before `kind`, but then each item has its own.
        const std::string_view why =
            from_list.is_item ? "; only items of a typed list that gives its kind before them may leave it out" : "";
        if (!kind_field.given() || kind_field.text()) kind_field.error(fmt::format("is missing{}", why));
        return nullptr;
    }
    const KindRow* row = find_kind(kind);
    if (row == nullptr) {
        kind_field.error(fmt::format("is not a kind that ghostip reads; it reads {}", known_kinds()));
        return nullptr;
    }
    const Field version_field = root.member("apiVersion");
    const auto version = version_field.text();
    if (version_field.given() && !version) return nullptr;
    const std::string_view given =
        version.value_or(kind == from_list.kind ? std::string_view(from_list.api_version) : "");
    if (given == row->api_version) return row;
    version_field.error(
        fmt::format("{}must be \"{}\" for a {}", given.empty() ? "is missing, and " : "", row->api_version, kind));
    return nullptr;
}

}  // namespace

bool is_known_kind(std::string_view kind) { return find_kind(kind) != nullptr; }

std::string known_kinds() {
    std::string names;
    for (const auto& row : kKinds) (names += names.empty() ? "" : ", ") += kind_name(row.kind);
    return names;
}

std::string_view api_version_of(std::string_view kind) {
    const KindRow* row = find_kind(kind);
    return row == nullptr ? std::string_view() : row->api_version;
}

std::string describe(std::string_view kind, std::string_view namespace_, std::string_view name) {
    std::string text = printable(kind);
    if (name.empty()) return text;
    if (!text.empty()) text += ' ';
    if (!namespace_.empty()) (text += printable(namespace_)) += '/';
    return text += printable(name);
}

ObjectKey peek_key(const Tree& tree, const TreeNode* object, Kind kind) {
    const TreeNode* metadata = peek(tree, object, "metadata");
    const std::string_view name = peek_text(tree, metadata, "name");
    if (name.empty()) return {kind, {}, {}};
    const auto namespace_ = namespace_for(find_kind(kind_name(kind)), peek_text(tree, metadata, "namespace"));
    return {kind, std::string(namespace_), std::string(name)};
}

void decode_object(const Tree& tree, const TreeNode& object, std::string_view file, const ItemType& from_list,
                   DecodeSink& sink) {
    ObjectScope scope{tree, file, sink};
    const Field root = Field::root(scope, object);
    if (!root.is_mapping()) return root.error("must be a mapping with apiVersion, kind and metadata");

    std::string_view kind = peek_text(tree, &object, "kind");
    if (kind.empty() && !root.member("kind").given()) kind = from_list.kind;
    const TreeNode* metadata_node = peek(tree, &object, "metadata");
    const std::string_view name = peek_text(tree, metadata_node, "name");
    const KindRow* row = find_kind(kind);
    const std::string_view namespace_ = namespace_for(row, peek_text(tree, metadata_node, "namespace"));
    scope.object = describe(kind, namespace_, name);

    row = check_type(root, from_list, kind);
    if (row == nullptr) return;
    const Field metadata = root.mapping("metadata");
    if (!metadata.given()) {
        if (!root.member("metadata").given()) metadata.error("is missing");
        return;
    }
    check_name(metadata.member("name"), row->name_rule);
    if (const Field field = metadata.member("namespace");
        row->scope == Scope::kNamespaced && field.given() && field.text() != "")
        check_name(field, NameRule::kLabel);
    metadata.member("labels").each_member([](const Field& entry) { static_cast<void>(entry.text()); });

    Object decoded = row->decode({root, metadata, std::string(namespace_), std::string(name)});
    if (!scope.bad) sink.object({std::move(decoded), root.line()});
}

std::optional<std::string_view> label(const Source& source, std::string_view key) {
    // Values of the wrong type are reported for all labels at once, before.
    const Field labels = source.metadata.member("labels");
    const Field entry = labels.member(key);
    if (!entry.present()) return std::nullopt;
    return entry.given() ? entry.text() : std::string_view();
}

}  // namespace ghostip::api::codec

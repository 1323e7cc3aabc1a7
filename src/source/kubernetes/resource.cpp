#include "source/kubernetes/resource.h"

#include <algorithm>

#include <fmt/format.h>

namespace ghostip::source::kubernetes {
namespace {

// As Go's url.QueryEscape.
std::string escaped(std::string_view text) {
    std::string out;
    for (const char character : text) {
        const auto byte = static_cast<unsigned char>(character);
        const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
                           (byte >= 'a' && byte <= 'z') || byte == '-' || byte == '_' || byte == '.' || byte == '~';
        if (plain)
            out += character;
        else if (byte == ' ')
            out += '+';
        else
            out += fmt::format("%{:02X}", byte);
    }
    return out;
}

bool is_number(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// Parameters must be added in the order of their names, as Go sorts them.
class Query {
  public:
    explicit Query(std::string_view path) : target_(path) {}
    void add(std::string_view name, std::string_view value) {
        if (value.empty()) return;
        target_ += separator_;
        separator_ = '&';
        target_.append(name).append("=").append(escaped(value));
    }
    [[nodiscard]] std::string take() { return std::move(target_); }

  private:
    std::string target_;
    char separator_ = '?';
};

// As Go prints a time.Duration of whole seconds: `9m24s`, `45s`, `1h0m0s`.
std::string duration_text(std::chrono::seconds duration) {
    const auto total = duration.count();
    if (total < 60) return fmt::format("{}s", total);
    if (total < 3600) return fmt::format("{}m{}s", total / 60, total % 60);
    return fmt::format("{}h{}m{}s", total / 3600, total / 60 % 60, total % 60);
}

}  // namespace

Resource services() {
    return {api::Kind::kService, "services", "/api/v1/services", "!service.kubernetes.io/service-proxy-name",
            "spec.clusterIP!=None"};
}

Resource endpoint_slices() {
    return {api::Kind::kEndpointSlice, "endpointslices", "/apis/discovery.k8s.io/v1/endpointslices",
            "!service.kubernetes.io/headless", ""};
}

Resource service_cidrs() {
    return {api::Kind::kServiceCidr, "servicecidrs", "/apis/networking.k8s.io/v1/servicecidrs", "", ""};
}

Resource own_node(std::string_view node_name) {
    return {api::Kind::kNode, "nodes", "/api/v1/nodes", "", fmt::format("metadata.name={}", node_name)};
}

std::string list_target(const Resource& resource, const ListPage& page) {
    Query query(resource.path);
    query.add("continue", page.continue_token);
    query.add("fieldSelector", resource.field_selector);
    query.add("labelSelector", resource.label_selector);
    if (page.limit > 0) query.add("limit", fmt::to_string(page.limit));
    if (page.continue_token.empty()) query.add("resourceVersion", page.resource_version);
    return query.take();
}

std::string watch_target(const Resource& resource, std::string_view resource_version, std::chrono::seconds timeout,
                         InitialEvents initial) {
    Query query(resource.path);
    query.add("allowWatchBookmarks", "true");
    query.add("fieldSelector", resource.field_selector);
    query.add("labelSelector", resource.label_selector);
    query.add("resourceVersion", resource_version);
    if (initial == InitialEvents::kSend) {
        query.add("resourceVersionMatch", "NotOlderThan");
        query.add("sendInitialEvents", "true");
    }
    query.add("timeout", duration_text(timeout));
    query.add("timeoutSeconds", fmt::to_string(timeout.count()));
    query.add("watch", "true");
    return query.take();
}

bool is_older(std::string_view version, std::string_view than) {
    if (!is_number(version) || !is_number(than)) return false;
    version.remove_prefix(std::min(version.find_first_not_of('0'), version.size()));
    than.remove_prefix(std::min(than.find_first_not_of('0'), than.size()));
    return version.size() != than.size() ? version.size() < than.size() : version < than;
}

}  // namespace ghostip::source::kubernetes

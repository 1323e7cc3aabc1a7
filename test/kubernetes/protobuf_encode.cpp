#include "kubernetes/protobuf_encode.h"

#include <protozero/pbf_writer.hpp>

#include <fmt/format.h>

#include "api/encode.h"

namespace ghostip::testkubernetes {
namespace {

using protozero::pbf_writer;

constexpr std::string_view kServiceNameLabel = "kubernetes.io/service-name";
constexpr std::string_view kHeadlessLabel = "service.kubernetes.io/headless";
constexpr std::string_view kProxyNameLabel = "service.kubernetes.io/service-proxy-name";
constexpr std::string_view kZoneLabel = "topology.kubernetes.io/zone";
constexpr std::string_view kTriggerTime = "endpoints.kubernetes.io/last-change-trigger-time";

void put(pbf_writer& to, protozero::pbf_tag_type tag, std::string_view text) {
    to.add_string(tag, text.data(), text.size());
}

void put_pair(pbf_writer& to, protozero::pbf_tag_type tag, std::string_view key, std::string_view value) {
    pbf_writer entry(to, tag);
    put(entry, 1, key);
    put(entry, 2, value);
}

// ObjectMeta; `labels` writes into it.
template <typename More>
void put_metadata(pbf_writer& to, std::string_view namespace_, std::string_view name, const Extra& extra, More&& more) {
    pbf_writer metadata(to, 1);
    put(metadata, 1, name);
    put(metadata, 2, "");
    put(metadata, 3, namespace_);
    put(metadata, 5, fmt::format("uid-{}-{}", namespace_, name));
    put(metadata, 6, fmt::to_string(extra.resource_version));
    metadata.add_int64(7, 1);
    {
        pbf_writer created(metadata, 8);
        created.add_int64(1, 1'767'323'045);
        created.add_int32(2, 0);
    }
    more(metadata);
    if (!extra.trigger_time.empty()) put_pair(metadata, 12, kTriggerTime, extra.trigger_time);
}

std::string_view type_name(api::ServiceType type) {
    switch (type) {
        case api::ServiceType::kClusterIp: return "ClusterIP";
        case api::ServiceType::kNodePort: return "NodePort";
        case api::ServiceType::kLoadBalancer: return "LoadBalancer";
        case api::ServiceType::kExternalName: return "ExternalName";
    }
    return "";
}

std::string_view policy_name(api::TrafficPolicy policy) {
    return policy == api::TrafficPolicy::kLocal ? "Local" : "Cluster";
}

void write(pbf_writer& out, const api::Service& service, const Extra& extra) {
    put_metadata(out, service.namespace_, service.name, extra, [&](pbf_writer& metadata) {
        if (service.proxied_elsewhere) put_pair(metadata, 11, kProxyNameLabel, "elsewhere");
    });
    pbf_writer spec(out, 2);
    for (const auto& port : service.ports) {
        pbf_writer entry(spec, 1);
        put(entry, 1, port.name);
        put(entry, 2, net::protocol_name(port.protocol));
        entry.add_int32(3, port.port);
        {
            pbf_writer target(entry, 4);
            target.add_int64(1, 0);
            target.add_int32(2, port.port);
            put(target, 3, "");
        }
        entry.add_int32(5, port.node_port);
    }
    put(spec, 3, service.headless ? "None" : service.cluster_ip ? service.cluster_ip->text() : "");
    put(spec, 4, type_name(service.type));
    for (const auto& address : service.external_ips) put(spec, 5, address.text());
    put(spec, 7, service.affinity_seconds != 0 ? "ClientIP" : "None");
    put(spec, 8, "");
    for (const auto& range : service.load_balancer_source_ranges) put(spec, 9, range.text());
    put(spec, 10, "");
    put(spec, 11, policy_name(service.external_traffic_policy));
    spec.add_int32(12, service.health_check_node_port);
    spec.add_bool(13, false);
    if (service.affinity_seconds != 0) {
        pbf_writer config(spec, 14);
        pbf_writer client_ip(config, 1);
        client_ip.add_int32(1, static_cast<std::int32_t>(service.affinity_seconds));
    }
    if (service.headless) put(spec, 18, "None");
    for (const auto& address : service.cluster_ips) put(spec, 18, address.text());
    for (const auto family : service.ip_families) put(spec, 19, net::family_name(family));
    put(spec, 22, policy_name(service.internal_traffic_policy));
    spec.commit();
    pbf_writer status(out, 3);
    pbf_writer load_balancer(status, 1);
    for (const auto& vip : service.load_balancer_vips) {
        pbf_writer ingress(load_balancer, 1);
        put(ingress, 1, vip.text());
        put(ingress, 2, "");
    }
}

void write(pbf_writer& out, const api::EndpointSlice& slice, const Extra& extra) {
    put_metadata(out, slice.namespace_, slice.name, extra, [&](pbf_writer& metadata) {
        if (!slice.service_name.empty()) put_pair(metadata, 11, kServiceNameLabel, slice.service_name);
        if (slice.headless) put_pair(metadata, 11, kHeadlessLabel, "");
    });
    for (const auto& endpoint : slice.endpoints) {
        pbf_writer entry(out, 2);
        put(entry, 1, endpoint.address.text());
        {
            pbf_writer conditions(entry, 2);
            conditions.add_bool(1, endpoint.ready);
            conditions.add_bool(2, endpoint.serving);
            conditions.add_bool(3, endpoint.terminating);
        }
        if (endpoint.node != api::Endpoint::kNone) put(entry, 6, slice.node_names[endpoint.node]);
        if (endpoint.hints != api::Endpoint::kNone) {
            pbf_writer hints(entry, 8);
            for (const auto& zone : slice.hints[endpoint.hints].zones) {
                pbf_writer one(hints, 1);
                put(one, 1, zone);
            }
            for (const auto& node : slice.hints[endpoint.hints].nodes) {
                pbf_writer one(hints, 2);
                put(one, 1, node);
            }
        }
    }
    for (const auto& port : slice.ports) {
        pbf_writer entry(out, 3);
        if (port.name) put(entry, 1, *port.name);
        put(entry, 2, net::protocol_name(port.protocol));
        if (port.port) entry.add_int32(3, *port.port);
    }
    put(out, 4,
        slice.address_type == api::AddressType::kIpv4   ? "IPv4"
        : slice.address_type == api::AddressType::kIpv6 ? "IPv6"
                                                        : "FQDN");
}

void write(pbf_writer& out, const api::Node& node, const Extra& extra) {
    put_metadata(out, "", node.name, extra, [&](pbf_writer& metadata) {
        if (!node.zone.empty()) put_pair(metadata, 11, kZoneLabel, node.zone);
    });
    {
        pbf_writer spec(out, 2);
        put(spec, 1, node.pod_cidrs.empty() ? "" : node.pod_cidrs.front().text());
        for (const auto& range : node.pod_cidrs) put(spec, 7, range.text());
        if (node.to_be_deleted_by_autoscaler) {
            pbf_writer taint(spec, 5);
            put(taint, 1, "ToBeDeletedByClusterAutoscaler");
            put(taint, 2, "");
            put(taint, 3, "NoSchedule");
        }
    }
    pbf_writer status(out, 3);
    for (const auto& address : node.addresses) {
        pbf_writer entry(status, 5);
        put(entry, 1, address.type == api::NodeAddressType::kInternalIp ? "InternalIP" : "ExternalIP");
        put(entry, 2, address.address.text());
    }
}

void write(pbf_writer& out, const api::ServiceCidr& range, const Extra& extra) {
    put_metadata(out, "", range.name, extra, [](pbf_writer&) {});
    pbf_writer spec(out, 2);
    for (const auto& cidr : range.cidrs) put(spec, 1, cidr.text());
}

void write(pbf_writer& out, const api::Pod& pod, const Extra& extra) {
    put_metadata(out, pod.namespace_, pod.name, extra, [](pbf_writer&) {});
}

void write(pbf_writer& out, const api::Namespace& one, const Extra& extra) {
    put_metadata(out, "", one.name, extra, [](pbf_writer&) {});
}

}  // namespace

std::string_view api_version_of(api::Kind kind) {
    switch (kind) {
        case api::Kind::kEndpointSlice: return "discovery.k8s.io/v1";
        case api::Kind::kServiceCidr: return "networking.k8s.io/v1";
        default: return "v1";
    }
}

std::string protobuf_message(const api::Object& object, const Extra& extra) {
    std::string bytes;
    pbf_writer out(bytes);
    std::visit([&](const auto& value) { write(out, *value, extra); }, object);
    return bytes;
}

std::string protobuf_envelope(std::string_view api_version, std::string_view kind, std::string_view message) {
    std::string bytes("k8s\0", 4);
    pbf_writer unknown(bytes);
    {
        pbf_writer type(unknown, 1);
        put(type, 1, api_version);
        put(type, 2, kind);
    }
    unknown.add_bytes(2, message.data(), message.size());
    put(unknown, 3, "");
    put(unknown, 4, "");
    return bytes;
}

std::string protobuf_frame(std::string_view type, std::string_view envelope) {
    std::string event;
    {
        pbf_writer out(event);
        put(out, 1, type);
        pbf_writer raw(out, 2);
        raw.add_bytes(1, envelope.data(), envelope.size());
    }
    const auto size = static_cast<std::uint32_t>(event.size());
    std::string frame;
    for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(size >> shift & 0xffU);
    return frame + event;
}

std::string list_metadata(std::uint64_t version, std::string_view continue_token) {
    std::string bytes;
    pbf_writer list(bytes);
    pbf_writer metadata(list, 1);
    put(metadata, 1, "");
    put(metadata, 2, fmt::to_string(version));
    put(metadata, 3, continue_token);
    metadata.commit();
    return bytes;
}

std::string list_item(std::string_view message) {
    std::string bytes;
    pbf_writer list(bytes);
    list.add_message(2, message.data(), message.size());
    return bytes;
}

std::string bookmark_message(std::uint64_t version, bool initial_events_end) {
    std::string bytes;
    pbf_writer object(bytes);
    pbf_writer metadata(object, 1);
    put(metadata, 6, fmt::to_string(version));
    if (initial_events_end) put_pair(metadata, 12, "k8s.io/initial-events-end", "true");
    metadata.commit();
    return bytes;
}

std::string status_message(int code, std::string_view reason, std::string_view message) {
    std::string bytes;
    pbf_writer status(bytes);
    put(status, 2, "Failure");
    put(status, 3, message);
    put(status, 4, reason);
    status.add_int32(6, code);
    return bytes;
}

std::string json_object(const api::Object& object, const Extra& extra) {
    std::string text = api::to_json(object);
    constexpr std::string_view kMetadata = "\"metadata\":{";
    std::string more = fmt::format(R"("resourceVersion":"{}",)", extra.resource_version);
    if (!extra.trigger_time.empty())
        more += fmt::format(R"("annotations":{{"{}":"{}"}},)", kTriggerTime, extra.trigger_time);
    text.insert(text.find(kMetadata) + kMetadata.size(), more);
    return text;
}

}  // namespace ghostip::testkubernetes

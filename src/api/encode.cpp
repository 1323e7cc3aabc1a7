#include "api/encode.h"

#include <cstdint>
#include <string_view>

#include <fmt/format.h>

#include "api/codec/rfc3339.h"

namespace ghostip::api {
namespace {

// Compact JSON; commas are put where they belong.
class Writer {
  public:
    Writer& open(char bracket) {
        separate();
        out_ += bracket;
        return *this;
    }
    Writer& close(char bracket) {
        out_ += bracket;
        return *this;
    }
    Writer& key(std::string_view name) {
        text(name);
        out_ += ':';
        return *this;
    }
    Writer& text(std::string_view value) {
        separate();
        out_ += '"';
        for (const char character : value) {
            if (character == '"' || character == '\\')
                (out_ += '\\') += character;
            else if (static_cast<unsigned char>(character) < 0x20)
                out_ += fmt::format("\\u{:04x}", static_cast<unsigned char>(character));
            else
                out_ += character;
        }
        out_ += '"';
        return *this;
    }
    Writer& raw(std::string_view value) {
        separate();
        out_ += value;
        return *this;
    }
    Writer& number(std::uint32_t value) { return raw(fmt::to_string(value)); }
    Writer& boolean(bool value) { return raw(value ? "true" : "false"); }
    Writer& member(std::string_view name, std::string_view value) { return key(name).text(value); }

    // `"name":[…]`, with write(element) for each; nothing for an empty list.
    template <typename List, typename Write>
    Writer& list(std::string_view name, const List& elements, Write&& write) {
        if (elements.empty()) return *this;
        key(name).open('[');
        for (const auto& element : elements) write(element);
        return close(']');
    }

    [[nodiscard]] std::string take() { return std::move(out_); }

  private:
    void separate() {
        if (!out_.empty() && out_.back() != '{' && out_.back() != '[' && out_.back() != ':') out_ += ',';
    }

    std::string out_;
};

std::string_view type_name(ServiceType type) {
    switch (type) {
        case ServiceType::kClusterIp: return "ClusterIP";
        case ServiceType::kNodePort: return "NodePort";
        case ServiceType::kLoadBalancer: return "LoadBalancer";
        case ServiceType::kExternalName: return "ExternalName";
    }
    return "";
}

std::string_view type_name(AddressType type) {
    switch (type) {
        case AddressType::kIpv4: return "IPv4";
        case AddressType::kIpv6: return "IPv6";
        case AddressType::kOther: return "FQDN";
    }
    return "";
}

std::string_view policy_name(TrafficPolicy policy) { return policy == TrafficPolicy::kLocal ? "Local" : "Cluster"; }

void begin(Writer& out, std::string_view api_version, Kind kind) {
    out.open('{').member("apiVersion", api_version).member("kind", kind_name(kind)).key("metadata").open('{');
}

void write_weights(Writer& out, const std::vector<EndpointWeight>& weights) {
    if (weights.empty()) return;
    std::string text;
    for (const auto& weight : weights)
        text += fmt::format("{}{}={}", text.empty() ? "" : ", ", weight.address.text(), weight.weight);
    out.member(kWeightsAnnotation, text);
}

void write_port(Writer& out, const ServicePort& port) {
    out.open('{');
    if (!port.name.empty()) out.member("name", port.name);
    out.member("protocol", net::protocol_name(port.protocol)).key("port").number(port.port);
    if (port.node_port != 0) out.key("nodePort").number(port.node_port);
    out.close('}');
}

void write(Writer& out, const Service& service) {
    const auto address = [&](const net::IpAddress& value) { out.text(value.text()); };
    begin(out, "v1", Kind::kService);
    out.member("name", service.name).member("namespace", service.namespace_);
    if (service.proxied_elsewhere)
        out.key("labels").open('{').member("service.kubernetes.io/service-proxy-name", "elsewhere").close('}');
    if (!service.scheduler.empty() || !service.endpoint_weights.empty() || service.proxy_protocol != 0) {
        out.key("annotations").open('{');
        if (service.proxy_protocol != 0)
            out.member(kProxyProtocolAnnotation, service.proxy_protocol == 1 ? "v1" : "v2");
        if (!service.scheduler.empty()) out.member(kSchedulerAnnotation, service.scheduler);
        write_weights(out, service.endpoint_weights);
        out.close('}');
    }
    out.close('}').key("spec").open('{').member("type", type_name(service.type));
    if (service.headless) out.member("clusterIP", "None").raw("\"clusterIPs\":[\"None\"]");
    if (service.cluster_ip) out.member("clusterIP", service.cluster_ip->text());
    out.list("clusterIPs", service.cluster_ips, address);
    out.list("ipFamilies", service.ip_families, [&](net::Family family) { out.text(net::family_name(family)); });
    out.list("ports", service.ports, [&](const ServicePort& port) { write_port(out, port); });
    out.list("externalIPs", service.external_ips, address);
    out.list("loadBalancerSourceRanges", service.load_balancer_source_ranges,
             [&](const net::Prefix& range) { out.text(range.text()); });
    out.member("sessionAffinity", service.affinity_seconds != 0 ? "ClientIP" : "None");
    if (service.affinity_seconds != 0)
        out.key("sessionAffinityConfig")
            .open('{')
            .key("clientIP")
            .open('{')
            .key("timeoutSeconds")
            .number(service.affinity_seconds)
            .close('}')
            .close('}');
    out.member("externalTrafficPolicy", policy_name(service.external_traffic_policy));
    out.member("internalTrafficPolicy", policy_name(service.internal_traffic_policy));
    if (service.health_check_node_port != 0) out.key("healthCheckNodePort").number(service.health_check_node_port);
    out.close('}');
    if (service.load_balancer_vips.empty()) return;
    out.key("status").open('{').key("loadBalancer").open('{');
    out.list("ingress", service.load_balancer_vips,
             [&](const net::IpAddress& vip) { out.open('{').member("ip", vip.text()).close('}'); });
    out.close('}').close('}');
}

void write_hints(Writer& out, const Hints& hints) {
    const auto named = [&](const std::string& name) { out.open('{').member("name", name).close('}'); };
    out.key("hints").open('{').list("forZones", hints.zones, named).list("forNodes", hints.nodes, named).close('}');
}

void write(Writer& out, const EndpointSlice& slice) {
    begin(out, "discovery.k8s.io/v1", Kind::kEndpointSlice);
    out.member("name", slice.name).member("namespace", slice.namespace_).key("labels").open('{');
    if (!slice.service_name.empty()) out.member("kubernetes.io/service-name", slice.service_name);
    if (slice.headless) out.member("service.kubernetes.io/headless", "");
    out.close('}');
    if (slice.last_change_trigger_time || !slice.endpoint_weights.empty()) {
        out.key("annotations").open('{');
        if (const auto time = slice.last_change_trigger_time)
            out.member("endpoints.kubernetes.io/last-change-trigger-time", codec::rfc3339_text(*time));
        write_weights(out, slice.endpoint_weights);
        out.close('}');
    }
    out.close('}').member("addressType", type_name(slice.address_type));
    out.list("ports", slice.ports, [&](const SlicePort& port) {
        out.open('{').key("name");
        port.name ? out.text(*port.name) : out.raw("null");
        out.member("protocol", net::protocol_name(port.protocol));
        if (port.port) out.key("port").number(*port.port);
        out.close('}');
    });
    out.list("endpoints", slice.endpoints, [&](const Endpoint& endpoint) {
        out.open('{').key("addresses").open('[').text(endpoint.address.text()).close(']').key("conditions").open('{');
        out.key("ready").boolean(endpoint.ready).key("serving").boolean(endpoint.serving);
        out.key("terminating").boolean(endpoint.terminating).close('}');
        if (endpoint.node != Endpoint::kNone) out.member("nodeName", slice.node_names[endpoint.node]);
        if (endpoint.hints != Endpoint::kNone) write_hints(out, slice.hints[endpoint.hints]);
        out.close('}');
    });
}

void write(Writer& out, const Node& node) {
    const auto range = [&](const net::Prefix& value) { out.text(value.text()); };
    begin(out, "v1", Kind::kNode);
    out.member("name", node.name);
    if (!node.zone.empty()) out.key("labels").open('{').member("topology.kubernetes.io/zone", node.zone).close('}');
    // Only that there is a time is kept of it.
    if (node.deleting) out.member("deletionTimestamp", "1970-01-01T00:00:00Z");
    out.close('}').key("spec").open('{').list("podCIDRs", node.pod_cidrs, range);
    if (node.to_be_deleted_by_autoscaler)
        out.key("taints")
            .open('[')
            .open('{')
            .member("key", "ToBeDeletedByClusterAutoscaler")
            .member("effect", "NoSchedule")
            .close('}')
            .close(']');
    out.close('}').key("status").open('{').list("addresses", node.addresses, [&](const NodeAddress& address) {
        out.open('{').member("type", address.type == NodeAddressType::kInternalIp ? "InternalIP" : "ExternalIP");
        out.member("address", address.address.text()).close('}');
    });
    out.close('}');
}

void write(Writer& out, const ServiceCidr& cidr) {
    begin(out, "networking.k8s.io/v1", Kind::kServiceCidr);
    out.member("name", cidr.name).close('}').key("spec").open('{');
    out.list("cidrs", cidr.cidrs, [&](const net::Prefix& range) { out.text(range.text()); }).close('}');
}

void write(Writer& out, const Pod& pod) {
    begin(out, "v1", Kind::kPod);
    out.member("name", pod.name).member("namespace", pod.namespace_).close('}');
}

void write(Writer& out, const Namespace& space) {
    begin(out, "v1", Kind::kNamespace);
    out.member("name", space.name).close('}');
}

}  // namespace

std::string to_json(const Object& object) {
    Writer out;
    std::visit([&](const auto& pointer) { write(out, *pointer); }, object);
    out.close('}');
    return out.take();
}

}  // namespace ghostip::api

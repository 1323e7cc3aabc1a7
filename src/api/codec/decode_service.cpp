// v1 Service. What is refused here is what the API server refuses (pkg/apis/core/validation ValidateService), as far as
// the plan relies on it; what it would default is defaulted, so that a file means what it would mean in a cluster.
#include <algorithm>

#include <fmt/format.h>

#include "api/codec/names.h"
#include "api/codec/object_decoder.h"
#include "api/codec/values.h"

namespace ghostip::api::codec {
namespace {

constexpr std::string_view kProxyNameLabel = "service.kubernetes.io/service-proxy-name";
constexpr std::string_view kNone = "None";
constexpr std::uint32_t kDefaultAffinitySeconds = 10800;
constexpr std::uint32_t kMostAffinitySeconds = 86400;

void decode_cluster_ips(const Field& spec, Service& service) {
    const Field single = spec.member("clusterIP");
    if (const auto text = single.text(); text == kNone)
        service.headless = true;
    else if (text && !text->empty())
        service.cluster_ip = address_of(single, Unparsable::kIsError);

    const Field list = spec.member("clusterIPs");
    bool first = true;
    list.each([&](const Field& entry) {
        const auto text = entry.text();
        if (!text) return entry.given() ? void() : entry.error("must be text");
        if (text == kNone) {
            if (!first || list.size() > 1) entry.error("must be the only entry");
            if (single.given() && !service.headless) entry.error("must be the same as spec.clusterIP");
            service.headless = true;
        } else if (const auto address = address_of(entry, Unparsable::kIsError)) {
            if (first && single.given() && service.cluster_ip != address)
                entry.error("must be the same as spec.clusterIP");
            service.cluster_ips.push_back(*address);
        }
        first = false;
    });
    if (service.cluster_ips.size() > 2) list.error("must not have more than two entries");
    if (service.cluster_ips.size() == 2 && service.cluster_ips[0].family() == service.cluster_ips[1].family())
        list.error("must have one address of each family");

    if (!service.cluster_ip && !service.cluster_ips.empty()) service.cluster_ip = service.cluster_ips.front();
    if (service.cluster_ip && service.cluster_ips.empty()) service.cluster_ips.push_back(*service.cluster_ip);
}

void decode_families(const Field& spec, Service& service) {
    const Field list = spec.member("ipFamilies");
    list.each([&](const Field& entry) {
        const auto text = entry.text();
        if (!text && entry.given()) return;
        if (text != "IPv4" && text != "IPv6") return entry.error("must be IPv4 or IPv6");
        const net::Family family = text == "IPv4" ? net::Family::kIpv4 : net::Family::kIpv6;
        if (std::find(service.ip_families.begin(), service.ip_families.end(), family) != service.ip_families.end())
            return entry.error("is there twice");
        service.ip_families.push_back(family);
    });
    if (service.ip_families.empty()) {
        for (const auto& address : service.cluster_ips) service.ip_families.push_back(address.family());
        return;
    }
    // The planner takes clusterIPs[i] for the family ipFamilies[i].
    for (std::size_t i = 0; i < std::min(service.ip_families.size(), service.cluster_ips.size()); ++i)
        if (service.cluster_ips[i].family() != service.ip_families[i])
            list.error(fmt::format("[{}] is {}, but the cluster IP there is {}", i,
                                   net::family_name(service.ip_families[i]), service.cluster_ips[i].text()));
}

ServicePort decode_port(const Field& entry, bool named) {
    ServicePort port;
    if (!entry.is_mapping()) {
        entry.error("must be a mapping");
        return port;
    }
    const Field name = entry.member("name");
    port.name = name.text().value_or("");
    if (!port.name.empty() && !is_dns_label(port.name)) name.error(std::string(kDnsLabelRule));
    if (named && port.name.empty() && (!name.given() || name.text()))
        name.error("must be given, for there are several ports");
    port.protocol = protocol_of(entry.member("protocol"));
    const Field number = entry.member("port");
    if (!number.given()) number.error("must be a number from 1 to 65535");
    port.port = static_cast<std::uint16_t>(number.number(1, 65535).value_or(0));
    port.node_port = static_cast<std::uint16_t>(entry.member("nodePort").number(0, 65535).value_or(0));
    return port;
}

void decode_ports(const Field& spec, Service& service) {
    const Field list = spec.member("ports");
    const bool named = list.size() > 1;
    list.each([&](const Field& entry) {
        const ServicePort port = decode_port(entry, named);
        for (const ServicePort& before : service.ports) {
            if (!port.name.empty() && port.name == before.name) entry.member("name").error("is there twice");
            if (port.protocol != before.protocol) continue;
            if (port.port != 0 && port.port == before.port)
                entry.member("port").error(fmt::format("is there twice for {}", net::protocol_name(port.protocol)));
            if (port.node_port != 0 && port.node_port == before.node_port)
                entry.member("nodePort").error(fmt::format("is there twice for {}", net::protocol_name(port.protocol)));
        }
        service.ports.push_back(port);
    });
}

void decode_affinity(const Field& spec, Service& service) {
    if (!spec.member("sessionAffinity").choice<bool>({{"None", false}, {"ClientIP", true}}, false)) return;
    const Field config = spec.mapping("sessionAffinityConfig");
    const Field client_ip = config.mapping("clientIP");
    const auto seconds = client_ip.member("timeoutSeconds").number(1, kMostAffinitySeconds);
    service.affinity_seconds = seconds ? static_cast<std::uint32_t>(*seconds) : kDefaultAffinitySeconds;
}

TrafficPolicy policy_of(const Field& field) {
    return field.choice<TrafficPolicy>({{"Cluster", TrafficPolicy::kCluster}, {"Local", TrafficPolicy::kLocal}},
                                       TrafficPolicy::kCluster);
}

void decode_load_balancer_status(const Field& root, Service& service) {
    const Field status = root.mapping("status");
    const Field load_balancer = status.mapping("loadBalancer");
    load_balancer.member("ingress").each([&](const Field& entry) {
        if (!entry.is_mapping()) return entry.error("must be a mapping");
        const auto mode = entry.member("ipMode").text();
        const auto address = address_of(entry.member("ip"), Unparsable::kIsSkipped);
        if (address && mode.value_or("VIP") == "VIP") service.load_balancer_vips.push_back(*address);
    });
}

}  // namespace

Object decode_service(Source source) {
    auto service = std::make_shared<Service>();
    service->namespace_ = std::move(source.namespace_);
    service->name = std::move(source.name);
    service->proxied_elsewhere = label(source, kProxyNameLabel).has_value();
    service->scheduler = scheduler_of(source);
    service->endpoint_weights = endpoint_weights_of(source);
    service->proxy_protocol = proxy_protocol_of(source);

    const Field spec = source.root.mapping("spec");
    service->type = spec.member("type").choice<ServiceType>({{"ClusterIP", ServiceType::kClusterIp},
                                                             {"NodePort", ServiceType::kNodePort},
                                                             {"LoadBalancer", ServiceType::kLoadBalancer},
                                                             {"ExternalName", ServiceType::kExternalName}},
                                                            ServiceType::kClusterIp);
    decode_cluster_ips(spec, *service);
    decode_families(spec, *service);
    decode_ports(spec, *service);
    spec.member("externalIPs").each([&](const Field& entry) {
        if (const auto address = address_of(entry, Unparsable::kIsSkipped)) service->external_ips.push_back(*address);
    });
    spec.member("loadBalancerSourceRanges").each([&](const Field& entry) {
        if (const auto range = range_of(entry, Unparsable::kIsSkipped))
            service->load_balancer_source_ranges.push_back(*range);
    });
    decode_affinity(spec, *service);
    service->external_traffic_policy = policy_of(spec.member("externalTrafficPolicy"));
    service->internal_traffic_policy = policy_of(spec.member("internalTrafficPolicy"));
    service->health_check_node_port =
        static_cast<std::uint16_t>(spec.member("healthCheckNodePort").number(0, 65535).value_or(0));
    decode_load_balancer_status(source.root, *service);
    return std::shared_ptr<const Service>(std::move(service));
}

}  // namespace ghostip::api::codec

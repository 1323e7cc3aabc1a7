// What the fields of a good object become, in YAML as people write it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "api/decode_testing.h"

namespace ghostip::api {
namespace {

using testing::decode_text;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

net::IpAddress address(std::string_view text) { return *net::IpAddress::parse(text); }
net::Prefix range(std::string_view text) { return *net::Prefix::parse_lenient(text); }

TEST(ServiceFields, AreAllRead) {
    const auto got = decode_text(R"(apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  labels: {service.kubernetes.io/service-proxy-name: ""}
spec:
  type: LoadBalancer
  clusterIP: 010.000.0.1
  clusterIPs: [10.0.0.1, "fd00::1"]
  ipFamilies: [IPv4, IPv6]
  ports:
  - name: http
    port: 80
    nodePort: 0x7530
  - name: dns
    port: 53
    protocol: UDP
  externalIPs: [192.0.2.1, "  198.51.100.1 "]
  loadBalancerSourceRanges: [" 10.1.2.3/8", "fd00::/8", "0.0.0.0/0"]
  sessionAffinity: ClientIP
  externalTrafficPolicy: Local
  internalTrafficPolicy: Local
  healthCheckNodePort: 30000
status:
  loadBalancer:
    ingress:
    - ip: 203.0.113.1
    - ip: 203.0.113.2
      ipMode: VIP
    - ip: 203.0.113.3
      ipMode: Proxy
    - hostname: lb.example
    - ip: ""
)",
                                 Format::kYaml);
    EXPECT_THAT(got.lines(), IsEmpty());
    Service expected;
    expected.namespace_ = "shop";
    expected.name = "web";
    expected.type = ServiceType::kLoadBalancer;
    expected.cluster_ip = address("10.0.0.1");
    expected.cluster_ips = {address("10.0.0.1"), address("fd00::1")};
    expected.ip_families = {net::Family::kIpv4, net::Family::kIpv6};
    expected.ports = {{"http", net::Protocol::kTcp, 80, 30000}, {"dns", net::Protocol::kUdp, 53, 0}};
    expected.external_ips = {address("192.0.2.1"), address("198.51.100.1")};
    expected.load_balancer_source_ranges = {range("10.0.0.0/8"), range("fd00::/8"), range("0.0.0.0/0")};
    expected.load_balancer_vips = {address("203.0.113.1"), address("203.0.113.2")};
    expected.affinity_seconds = 10800;
    expected.external_traffic_policy = TrafficPolicy::kLocal;
    expected.internal_traffic_policy = TrafficPolicy::kLocal;
    expected.health_check_node_port = 30000;
    expected.proxied_elsewhere = true;
    EXPECT_EQ(got.only<Service>(), expected);
}

TEST(ServiceFields, AreDefaultedAsTheApiServerDoes) {
    const auto got = decode_text(
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}}",
        Format::kYaml);
    Service expected;
    expected.namespace_ = "default";
    expected.name = "web";
    expected.cluster_ip = address("10.0.0.1");
    expected.cluster_ips = {address("10.0.0.1")};
    expected.ip_families = {net::Family::kIpv4};
    expected.ports = {{"", net::Protocol::kTcp, 80, 0}};
    EXPECT_EQ(got.only<Service>(), expected);
}

TEST(ServiceFields, HeadlessHasNoAddress) {
    const auto got = decode_text(
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: None, clusterIPs: [None], "
        "ipFamilies: [IPv4]}}",
        Format::kYaml);
    const auto service = got.only<Service>();
    EXPECT_TRUE(service.headless);
    EXPECT_EQ(service.cluster_ip, std::nullopt);
    EXPECT_THAT(service.cluster_ips, IsEmpty());
}

TEST(ServiceFields, AffinityTimeIsRead) {
    const auto got = decode_text(
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {sessionAffinity: ClientIP, "
        "sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}}}",
        Format::kYaml);
    EXPECT_EQ(got.only<Service>().affinity_seconds, 60U);
}

TEST(EndpointSliceFields, AreAllRead) {
    const auto got = decode_text(R"(apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  labels: {kubernetes.io/service-name: web, service.kubernetes.io/headless: ""}
addressType: IPv6
ports:
- {name: http, port: 8080}
- {port: 53, protocol: UDP}
- {name: ~, port: 0}
endpoints:
- addresses: ["fd00::1", "fd00::2"]
  nodeName: n1
  conditions: {ready: false, serving: true, terminating: true}
  hints: {forZones: [{name: a}, {name: b}]}
- addresses: ["fd00::3"]
  nodeName: n2
  hints: {forNodes: [{name: n2}]}
- addresses: ["fd00::4"]
  nodeName: n1
  hints: {forZones: [{name: a}, {name: b}]}
- addresses: ["fd00::5"]
  hints: {}
)",
                                 Format::kYaml);
    EXPECT_THAT(got.lines(), IsEmpty());
    EndpointSlice expected;
    expected.namespace_ = "default";
    expected.name = "web-1";
    expected.service_name = "web";
    expected.headless = true;
    expected.address_type = AddressType::kIpv6;
    expected.ports = {
        {"http", net::Protocol::kTcp, 8080}, {"", net::Protocol::kUdp, 53}, {std::nullopt, net::Protocol::kTcp, 0}};
    expected.endpoints = {{address("fd00::1"), false, true, true, 0, 0},
                          {address("fd00::3"), true, true, false, 1, 1},
                          {address("fd00::4"), true, true, false, 0, 0},
                          {address("fd00::5"), true, true, false, Endpoint::kNone, Endpoint::kNone}};
    expected.node_names = {"n1", "n2"};
    expected.hints = {{{"a", "b"}, {}}, {{}, {"n2"}}};
    EXPECT_EQ(got.only<EndpointSlice>(), expected);
}

TEST(EndpointSliceFields, TriggerTimeIsKeptAndIsNoContent) {
    const auto slice = [](std::string_view annotations) {
        return decode_text(
            fmt::format(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: a, annotations: {}}}, "
                "addressType: IPv4}}",
                annotations),
            Format::kYaml);
    };
    const auto at = slice("{endpoints.kubernetes.io/last-change-trigger-time: '2026-01-02T03:04:05.06Z'}");
    EXPECT_THAT(at.lines(), IsEmpty());
    const auto expected = std::chrono::sys_days(std::chrono::year(2026) / 1 / 2) + std::chrono::hours(3) +
                          std::chrono::minutes(4) + std::chrono::milliseconds(5060);
    EXPECT_EQ(at.only<EndpointSlice>().last_change_trigger_time, expected);
    const auto never = slice("{other: x}");
    EXPECT_EQ(never.only<EndpointSlice>().last_change_trigger_time, std::nullopt);
    EXPECT_TRUE(same_content(at.objects.front().object, never.objects.front().object));

    const auto bad = slice("{endpoints.kubernetes.io/last-change-trigger-time: yesterday}");
    EXPECT_THAT(
        bad.lines(),
        ElementsAre("notice f:1: EndpointSlice default/a: "
                    "metadata.annotations[\"endpoints.kubernetes.io/last-change-trigger-time\"]: \"yesterday\": "
                    "is not a time (RFC 3339); ignored"));
    EXPECT_EQ(bad.only<EndpointSlice>().last_change_trigger_time, std::nullopt);
}

TEST(EndpointSliceFields, HostNamesAreNoEndpoints) {
    const auto got = decode_text(
        "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: FQDN, endpoints: "
        "[{addresses: [a.example]}]}",
        Format::kYaml);
    const auto slice = got.only<EndpointSlice>();
    EXPECT_EQ(slice.address_type, AddressType::kOther);
    EXPECT_THAT(slice.endpoints, IsEmpty());
}

TEST(NodeFields, AreAllRead) {
    const auto got = decode_text(R"(apiVersion: v1
kind: Node
metadata:
  name: n1
  namespace: ignored
  deletionTimestamp: 2026-01-01T00:00:00Z
  labels: {topology.kubernetes.io/zone: a}
spec:
  podCIDR: 10.1.0.0/24
  podCIDRs: [10.1.0.0/24, "fd00:1::/64"]
  taints: [{key: other}, {key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]
status:
  addresses: [{type: InternalIP, address: 192.0.2.1}, {type: Hostname, address: n1}, {type: ExternalIP, address: "2001:db8::1"}]
)",
                                 Format::kYaml);
    EXPECT_THAT(got.lines(), IsEmpty());
    Node expected;
    expected.name = "n1";
    expected.zone = "a";
    expected.addresses = {{NodeAddressType::kInternalIp, address("192.0.2.1")},
                          {NodeAddressType::kExternalIp, address("2001:db8::1")}};
    expected.pod_cidrs = {range("10.1.0.0/24"), range("fd00:1::/64")};
    expected.deleting = true;
    expected.to_be_deleted_by_autoscaler = true;
    EXPECT_EQ(got.only<Node>(), expected);
}

TEST(NodeFields, SinglePodRangeStandsIn) {
    const auto got =
        decode_text("{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: 10.1.0.0/24}}", Format::kYaml);
    EXPECT_THAT(got.only<Node>().pod_cidrs, ElementsAre(range("10.1.0.0/24")));
}

}  // namespace
}  // namespace ghostip::api

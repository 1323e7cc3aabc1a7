#include "api/encode.h"

#include <gtest/gtest.h>

#include "api/decode_testing.h"

namespace ghostip::api {
namespace {

net::IpAddress address(std::string_view text) { return *net::IpAddress::parse(text); }

struct Case {
    const char* name;
    Object object;
};

std::vector<Case> cases() {
    Service full;
    full.namespace_ = "shop";
    full.name = "web";
    full.type = ServiceType::kLoadBalancer;
    full.cluster_ip = address("10.0.0.1");
    full.cluster_ips = {address("10.0.0.1"), address("fd00::1")};
    full.ip_families = {net::Family::kIpv4, net::Family::kIpv6};
    full.ports = {{"a", net::Protocol::kSctp, 80, 30080}, {"b", net::Protocol::kUdp, 81, 0}};
    full.external_ips = {address("192.0.2.1")};
    full.load_balancer_vips = {address("192.0.2.2"), address("2001:db8::1")};
    full.load_balancer_source_ranges = {*net::Prefix::parse_lenient("10.0.0.0/8")};
    full.affinity_seconds = 7;
    full.external_traffic_policy = full.internal_traffic_policy = TrafficPolicy::kLocal;
    full.health_check_node_port = 31000;
    full.proxied_elsewhere = true;
    full.scheduler = "wlc";
    full.endpoint_weights = {{address("10.1.0.1"), 0}, {address("fd00:1::1"), 65535}};
    full.proxy_protocol = 2;
    Service headless;
    headless.namespace_ = "shop";
    headless.name = "db";
    headless.headless = true;
    EndpointSlice slice;
    slice.namespace_ = "shop";
    slice.name = "web-1";
    slice.service_name = "web";
    slice.headless = true;
    slice.last_change_trigger_time = std::chrono::system_clock::time_point(std::chrono::milliseconds(1234567));
    slice.ports = {{"a", net::Protocol::kTcp, 8080},
                   {std::nullopt, net::Protocol::kUdp, std::nullopt},
                   {"", net::Protocol::kTcp, 0}};
    slice.endpoints = {{address("10.1.0.1"), false, false, true, 0, 0},
                       {address("10.1.0.2"), true, true, false, Endpoint::kNone, Endpoint::kNone}};
    slice.node_names = {"n \"1\"\n"};
    slice.endpoint_weights = {{address("10.1.0.2"), 7}};
    slice.hints = {{{"a", "b"}, {"n1"}}};
    EndpointSlice other;
    other.namespace_ = "shop";
    other.name = "names";
    other.address_type = AddressType::kOther;
    Node node;
    node.name = "n1";
    node.zone = "a";
    node.addresses = {{NodeAddressType::kInternalIp, address("10.2.0.1")},
                      {NodeAddressType::kExternalIp, address("2001:db8::2")}};
    node.pod_cidrs = {*net::Prefix::parse_lenient("10.3.0.0/24")};
    node.deleting = node.to_be_deleted_by_autoscaler = true;
    ServiceCidr cidr;
    cidr.name = "k";
    cidr.cidrs = {*net::Prefix::parse_lenient("10.0.0.0/16"), *net::Prefix::parse_lenient("fd00::/112")};
    return {{"FullService", std::make_shared<const Service>(full)},
            {"HeadlessService", std::make_shared<const Service>(headless)},
            {"Slice", std::make_shared<const EndpointSlice>(slice)},
            {"SliceOfHostNames", std::make_shared<const EndpointSlice>(other)},
            {"Node", std::make_shared<const Node>(node)},
            {"ServiceCidr", std::make_shared<const ServiceCidr>(cidr)},
            {"Pod", std::make_shared<const Pod>(Pod{"shop", "p"})},
            {"Namespace", std::make_shared<const Namespace>(Namespace{"shop"})}};
}

TEST(ToJson, IsReadBackAsTheSame) {
    for (const auto& test : cases()) {
        for (const Format format : {Format::kJson, Format::kYaml}) {
            const std::string text = to_json(test.object);
            const auto got = testing::decode_text(text, format);
            ASSERT_EQ(got.objects.size(), 1U) << test.name << "\n"
                                              << text << "\n"
                                              << ::testing::PrintToString(got.lines());
            EXPECT_TRUE(got.problems.empty()) << test.name << ::testing::PrintToString(got.lines());
            EXPECT_TRUE(same_content(got.objects[0].object, test.object)) << test.name << "\n" << text;
        }
    }
}

TEST(ToJson, HasTheShapeOfKubernetes) {
    EXPECT_EQ(
        to_json(cases()[1].object),
        R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"db","namespace":"shop"},"spec":{"type":"ClusterIP",)"
        R"("clusterIP":"None","clusterIPs":["None"],"sessionAffinity":"None","externalTrafficPolicy":"Cluster","internalTrafficPolicy":"Cluster"}})");
}

}  // namespace
}  // namespace ghostip::api

// The rules of each field. JSON is also YAML, so each text goes through both readers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "api/decode_testing.h"

namespace ghostip::api {
namespace {

using testing::Collected;
using testing::decode_text;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

std::string service(std::string_view spec) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"Service","metadata":{{"name":"web"}},"spec":{{{}}}}})", spec);
}
std::string slice(std::string_view members) {
    return fmt::format(
        R"({{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"web-1"}},{}}})", members);
}
std::string node(std::string_view members) {
    return fmt::format(R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"n1"}},{}}})", members);
}
std::string service_cidr(std::string_view cidrs) {
    return fmt::format(
        R"({{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","metadata":{{"name":"k"}},"spec":{{"cidrs":{}}}}})",
        cidrs);
}

struct Case {
    const char* name;
    std::string text;
    // What is reported, without the file and line in front; empty: nothing. `notice ` in front: the object is good.
    std::vector<std::string> problems;
};

void PrintTo(const Case& test, std::ostream* out) { *out << test.name; }

class Rules : public ::testing::TestWithParam<std::tuple<Case, Format>> {};

TEST_P(Rules, AreKept) {
    const auto& [test, format] = GetParam();
    const Collected got = decode_text(test.text, format);
    EXPECT_TRUE(got.parsed);
    std::vector<std::string> expected;
    bool bad = false;
    for (const auto& problem : test.problems) {
        const bool notice = problem.starts_with("notice ");
        bad = bad || !notice;
        expected.push_back(notice ? "notice f:1: " + problem.substr(7) : "f:1: " + problem);
    }
    EXPECT_THAT(got.lines(), ElementsAreArray(expected));
    EXPECT_EQ(got.objects.size(), bad ? 0U : 1U);
}

std::vector<Case> cases() {
    const std::string web = "Service default/web: ";
    const std::string slice1 = "EndpointSlice default/web-1: ";
    const std::string port_rule = "must be a number from 1 to 65535";
    return {
        {"ServiceWithNothing", R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"}})", {}},
        {"UnknownFieldsAreIgnored",
         service(R"("ports":[{"port":80,"targetPort":"http","appProtocol":"h2c"}],"new":{"a":[1]})"),
         {}},
        {"PortAbsent", service(R"("ports":[{"name":"a"}])"), {web + "spec.ports[0].port: " + port_rule}},
        {"PortZero", service(R"("ports":[{"port":0}])"), {web + "spec.ports[0].port: 0: " + port_rule}},
        {"PortTooLarge", service(R"("ports":[{"port":65536}])"), {web + "spec.ports[0].port: 65536: " + port_rule}},
        {"PortNegative", service(R"("ports":[{"port":-1}])"), {web + "spec.ports[0].port: -1: " + port_rule}},
        {"PortFraction", service(R"("ports":[{"port":80.5}])"), {web + "spec.ports[0].port: 80.5: " + port_rule}},
        {"PortText", service(R"("ports":[{"port":"http"}])"), {web + "spec.ports[0].port: \"http\": " + port_rule}},
        {"PortQuotedNumber", service(R"("ports":[{"port":"80"}])"), {web + "spec.ports[0].port: \"80\": " + port_rule}},
        {"PortNull", service(R"("ports":[{"port":null}])"), {web + "spec.ports[0].port: null: " + port_rule}},
        {"PortList", service(R"("ports":[{"port":[80]}])"), {web + "spec.ports[0].port: a list: " + port_rule}},
        {"PortHuge",
         service(R"("ports":[{"port":18446744073709551615}])"),
         {web + "spec.ports[0].port: 18446744073709551615: " + port_rule}},
        {"NodePortZero", service(R"("ports":[{"port":80,"nodePort":0}])"), {}},
        {"NodePortTooLarge",
         service(R"("ports":[{"port":80,"nodePort":70000}])"),
         {web + "spec.ports[0].nodePort: 70000: must be a number from 0 to 65535"}},
        {"NodePortTwice",
         service(R"("ports":[{"name":"a","port":80,"nodePort":3},{"name":"b","port":81,"nodePort":3}])"),
         {web + "spec.ports[1].nodePort: 3: is there twice for TCP"}},
        {"ProtocolLowerCase",
         service(R"("ports":[{"port":80,"protocol":"tcp"}])"),
         {web + "spec.ports[0].protocol: \"tcp\": must be one of TCP, UDP, SCTP"}},
        {"ProtocolEmpty", service(R"("ports":[{"port":80,"protocol":""}])"), {}},
        {"ProtocolBool",
         service(R"("ports":[{"port":80,"protocol":true}])"),
         {web + "spec.ports[0].protocol: true: must be text; in YAML, put it in quotes"}},
        {"TwoPortsUnnamed",
         service(R"("ports":[{"port":80},{"name":"b","port":81}])"),
         {web + "spec.ports[0].name: must be given, for there are several ports"}},
        {"TwoPortsOneName",
         service(R"("ports":[{"name":"a","port":80},{"name":"a","port":81}])"),
         {web + "spec.ports[1].name: \"a\": is there twice"}},
        {"TwoPortsOneNumber",
         service(R"("ports":[{"name":"a","port":80},{"name":"b","port":80}])"),
         {web + "spec.ports[1].port: 80: is there twice for TCP"}},
        {"OneNumberTwoProtocols",
         service(R"("ports":[{"name":"a","port":53},{"name":"b","port":53,"protocol":"UDP"}])"),
         {}},
        {"PortNameBad",
         service(R"("ports":[{"name":"A_b","port":80}])"),
         {web + "spec.ports[0].name: \"A_b\": must be at most 63 of a-z, 0-9 and '-', beginning and ending with a "
                "letter or digit"}},
        {"PortsNoList", service(R"("ports":{"port":80})"), {web + "spec.ports: a mapping: must be a list"}},
        {"PortsEntryText", service(R"("ports":["80"])"), {web + "spec.ports[0]: \"80\": must be a mapping"}},
        {"SpecText",
         R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":"x"})",
         {web + "spec: \"x\": must be a mapping"}},
        {"TypeUnknown",
         service(R"("type":"Loadbalancer")"),
         {web + "spec.type: \"Loadbalancer\": must be one of ClusterIP, NodePort, LoadBalancer, ExternalName"}},
        {"ClusterIpBad",
         service(R"("clusterIP":"10.0.0")"),
         {web + "spec.clusterIP: \"10.0.0\": is not an IP address"}},
        {"ClusterIpNumber",
         service(R"("clusterIP":10)"),
         {web + "spec.clusterIP: 10: must be text; in YAML, put it in quotes"}},
        {"ClusterIpEmpty", service(R"("clusterIP":"")"), {}},
        {"ClusterIpsDiffer",
         service(R"("clusterIP":"10.0.0.1","clusterIPs":["10.0.0.2"])"),
         {web + "spec.clusterIPs[0]: \"10.0.0.2\": must be the same as spec.clusterIP"}},
        {"ClusterIpsOfOneFamily",
         service(R"("clusterIPs":["10.0.0.1","10.0.0.2"])"),
         {web + "spec.clusterIPs: a list: must have one address of each family"}},
        {"ClusterIpsThree",
         service(R"("clusterIPs":["10.0.0.1","fd00::1","10.0.0.2"])"),
         {web + "spec.clusterIPs: a list: must not have more than two entries"}},
        {"ClusterIpsNone", service(R"("clusterIP":"None","clusterIPs":["None"])"), {}},
        {"ClusterIpsNoneAndMore",
         service(R"("clusterIPs":["None","10.0.0.1"])"),
         {web + "spec.clusterIPs[0]: \"None\": must be the only entry"}},
        {"FamilyUnknown",
         service(R"("ipFamilies":["IPv5"])"),
         {web + "spec.ipFamilies[0]: \"IPv5\": must be IPv4 or IPv6"}},
        {"FamilyTwice",
         service(R"("ipFamilies":["IPv4","IPv4"])"),
         {web + "spec.ipFamilies[1]: \"IPv4\": is there twice"}},
        {"FamilyOfOtherAddress",
         service(R"("clusterIP":"fd00::1","ipFamilies":["IPv4"])"),
         {web + "spec.ipFamilies: a list: [0] is IPv4, but the cluster IP there is fd00::1"}},
        {"ExternalIpBad",
         service(R"("externalIPs":["1.2.3.4","x","  "])"),
         {"notice " + web + "spec.externalIPs[1]: \"x\": is not an IP address; left out"}},
        {"ExternalIpNumber",
         service(R"("externalIPs":[5])"),
         {web + "spec.externalIPs[0]: 5: must be text; in YAML, put it in quotes"}},
        {"RangeBad",
         service(R"("loadBalancerSourceRanges":[" 10.0.0.0/8 ","10.0.0.0","10.0.0.0/33",""])"),
         {"notice " + web +
              "spec.loadBalancerSourceRanges[1]: \"10.0.0.0\": is not an address range (for example 10.0.0.0/8); left "
              "out",
          "notice " + web +
              "spec.loadBalancerSourceRanges[2]: \"10.0.0.0/33\": is not an address range (for example 10.0.0.0/8); "
              "left out"}},
        {"AffinityUnknown",
         service(R"("sessionAffinity":"Cookie")"),
         {web + "spec.sessionAffinity: \"Cookie\": must be one of None, ClientIP"}},
        {"AffinityTooLong",
         service(R"("sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":86401}})"),
         {web + "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 86401: must be a number from 1 to 86400"}},
        {"AffinityZero",
         service(R"("sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":0}})"),
         {web + "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0: must be a number from 1 to 86400"}},
        {"PolicyUnknown",
         service(R"("externalTrafficPolicy":"local","internalTrafficPolicy":"None")"),
         {web + "spec.externalTrafficPolicy: \"local\": must be one of Cluster, Local",
          web + "spec.internalTrafficPolicy: \"None\": must be one of Cluster, Local"}},
        {"HealthPortBad",
         service(R"("healthCheckNodePort":99999)"),
         {web + "spec.healthCheckNodePort: 99999: must be a number from 0 to 65535"}},
        {"IngressAddressBad",
         R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"status":{"loadBalancer":{"ingress":[{"ip":"x"},{"hostname":"h"}]}}})",
         {"notice " + web + "status.loadBalancer.ingress[0].ip: \"x\": is not an IP address; left out"}},
        {"SeveralErrorsAtOnce",
         service(R"("type":"X","ports":[{"port":0},{"port":1,"name":"b","protocol":"x"}])"),
         {web + "spec.type: \"X\": must be one of ClusterIP, NodePort, LoadBalancer, ExternalName",
          web + "spec.ports[0].name: must be given, for there are several ports",
          web + "spec.ports[0].port: 0: " + port_rule,
          web + "spec.ports[1].protocol: \"x\": must be one of TCP, UDP, SCTP"}},

        {"SliceSmallest", slice(R"("addressType":"IPv4")"), {}},
        {"SliceNoType", slice(R"("endpoints":[])"), {slice1 + "addressType: must be one of IPv4, IPv6, FQDN"}},
        {"SliceTypeUnknown",
         slice(R"("addressType":"ipv4")"),
         {slice1 + "addressType: \"ipv4\": must be one of IPv4, IPv6, FQDN"}},
        {"SliceHostNames", slice(R"("addressType":"FQDN","endpoints":[{"addresses":["a.example"]}])"), {}},
        {"SlicePortNulls", slice(R"("addressType":"IPv4","ports":[{"name":null,"port":null}])"), {}},
        {"SlicePortTooLarge",
         slice(R"("addressType":"IPv4","ports":[{"port":65536}])"),
         {slice1 + "ports[0].port: 65536: must be a number from 0 to 65535"}},
        {"SlicePortNameTwice",
         slice(R"("addressType":"IPv4","ports":[{"name":"a","port":1},{"name":"a","port":2}])"),
         {slice1 + "ports: a list: the name \"a\" is there twice"}},
        {"EndpointEmptyAddresses",
         slice(R"("addressType":"IPv4","endpoints":[{"addresses":[]},{"addresses":["10.0.0.1"]}])"),
         {"notice " + slice1 + "endpoints[0]: a mapping: has no address; left out"}},
        {"EndpointNoAddresses",
         slice(R"("addressType":"IPv4","endpoints":[{}])"),
         {"notice " + slice1 + "endpoints[0]: a mapping: has no address; left out"}},
        {"EndpointAddressBad",
         slice(R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.256"]}])"),
         {slice1 + "endpoints[0].addresses[0]: \"10.0.0.256\": is not an IP address"}},
        {"EndpointAddressNull",
         slice(R"("addressType":"IPv4","endpoints":[{"addresses":[null]}])"),
         {slice1 + "endpoints[0].addresses[0]: null: is not an IP address"}},
        {"EndpointOtherFamily",
         slice(R"("addressType":"IPv4","endpoints":[{"addresses":["fd00::1"]}])"),
         {slice1 + "endpoints[0].addresses[0]: \"fd00::1\": must be an IPv4 address, as addressType says"}},
        {"EndpointLoopback",
         slice(R"("addressType":"IPv4","endpoints":[{"addresses":["127.0.0.1"]},{"addresses":["10.0.0.1"]}])"),
         {"notice " + slice1 +
          "endpoints[0].addresses[0]: \"127.0.0.1\": is a loopback address, which cannot be an endpoint; left out"}},
        {"EndpointLinkLocal",
         slice(R"("addressType":"IPv4","endpoints":[{"addresses":["169.254.169.254"]}])"),
         {"notice " + slice1 +
          "endpoints[0].addresses[0]: \"169.254.169.254\": is a link-local address, which cannot be an endpoint; left "
          "out"}},
        {"EndpointLinkLocalMulticast",
         slice(R"("addressType":"IPv6","endpoints":[{"addresses":["ff02::1"]}])"),
         {"notice " + slice1 +
          "endpoints[0].addresses[0]: \"ff02::1\": is a link-local multicast address, which cannot be an endpoint; "
          "left "
          "out"}},
        {"EndpointUnspecified",
         slice(R"("addressType":"IPv6","endpoints":[{"addresses":["::"]}])"),
         {"notice " + slice1 +
          "endpoints[0].addresses[0]: \"::\": is the unspecified address, which cannot be an endpoint; left out"}},
        {"EndpointMappedLoopback",
         slice(R"("addressType":"IPv6","endpoints":[{"addresses":["::ffff:127.0.0.1"]}])"),
         {"notice " + slice1 +
          "endpoints[0].addresses[0]: \"::ffff:127.0.0.1\": is a loopback address, which cannot be an endpoint; left "
          "out"}},
        {"EndpointAddressesText",
         slice(R"("addressType":"IPv4","endpoints":[{"addresses":"10.0.0.1"}])"),
         {slice1 + "endpoints[0].addresses: \"10.0.0.1\": must be a list"}},
        {"ConditionText",
         slice(R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":"true"}}])"),
         {slice1 + "endpoints[0].conditions.ready: \"true\": must be true or false"}},
        {"ConditionNulls",
         slice(
             R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":null,"serving":null,"terminating":null}}])"),
         {}},
        {"NodeNameNumber",
         slice(R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"nodeName":7}])"),
         {slice1 + "endpoints[0].nodeName: 7: must be text; in YAML, put it in quotes"}},

        {"NodeAddressBad",
         node(R"("status":{"addresses":[{"type":"Hostname","address":"n1"},{"type":"InternalIP","address":"n1"}]})"),
         {"notice Node n1: status.addresses[1].address: \"n1\": is not an IP address; left out"}},
        {"NodePodRangeBad",
         node(R"("spec":{"podCIDRs":["10.0.0.0"]})"),
         {"Node n1: spec.podCIDRs[0]: \"10.0.0.0\": is not an address range (for example 10.0.0.0/8)"}},
        {"ServiceCidrEmpty", service_cidr("[]"), {"ServiceCIDR k: spec.cidrs: a list: must have an address range"}},
        {"ServiceCidrBad",
         service_cidr(R"(["10.0.0.0/x"])"),
         {"ServiceCIDR k: spec.cidrs[0]: \"10.0.0.0/x\": is not an address range (for example 10.0.0.0/8)"}},
        {"ServiceCidrTwoOfAFamily",
         service_cidr(R"(["10.0.0.0/8","11.0.0.0/8"])"),
         {"ServiceCIDR k: spec.cidrs: a list: must have one range, or one of each family"}},
        {"ServiceCidrDual", service_cidr(R"(["10.0.0.0/8","fd00::/112"])"), {}},

        {"NoKind", R"({"apiVersion":"v1"})", {"kind: is missing"}},
        {"KindNumber", R"({"apiVersion":"v1","kind":1})", {"kind: 1: must be text; in YAML, put it in quotes"}},
        {"KindUnknown",
         R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"shop"}})",
         {"Deployment shop/web: kind: \"Deployment\": is not a kind that ghostip reads; it reads Service, "
          "EndpointSlice, Node, ServiceCIDR, Pod, Namespace"}},
        {"VersionWrong",
         R"({"apiVersion":"discovery.k8s.io/v1beta1","kind":"EndpointSlice","metadata":{"name":"a"}})",
         {"EndpointSlice default/a: apiVersion: \"discovery.k8s.io/v1beta1\": must be \"discovery.k8s.io/v1\" for a "
          "EndpointSlice"}},
        {"VersionMissing",
         R"({"kind":"Service","metadata":{"name":"web"}})",
         {web + "apiVersion: is missing, and must be \"v1\" for a Service"}},
        {"MetadataMissing", R"({"apiVersion":"v1","kind":"Service"})", {"Service: metadata: is missing"}},
        {"MetadataText",
         R"({"apiVersion":"v1","kind":"Service","metadata":"x"})",
         {"Service: metadata: \"x\": must be a mapping"}},
        {"NameMissing",
         R"({"apiVersion":"v1","kind":"Service","metadata":{}})",
         {"Service: metadata.name: is missing"}},
        {"NameEmpty",
         R"({"apiVersion":"v1","kind":"Service","metadata":{"name":""}})",
         {"Service: metadata.name: \"\": must not be empty"}},
        {"NameNumber",
         R"({"apiVersion":"v1","kind":"Service","metadata":{"name":7}})",
         {"Service: metadata.name: 7: must be text; in YAML, put it in quotes"}},
        {"NameWithDot",
         R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"a.b"}})",
         {"Service default/a.b: metadata.name: \"a.b\": must be at most 63 of a-z, 0-9 and '-', beginning and ending "
          "with a letter or digit"}},
        {"NodeNameWithDot", R"({"apiVersion":"v1","kind":"Node","metadata":{"name":"a.b"}})", {}},
        {"NamespaceBad",
         R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"A"}})",
         {"Pod A/p: metadata.namespace: \"A\": must be at most 63 of a-z, 0-9 and '-', beginning and ending with a "
          "letter or digit"}},
        {"LabelNumber",
         R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"example.com/a":1}}})",
         {"Pod default/p: metadata.labels[\"example.com/a\"]: 1: must be text; in YAML, put it in quotes"}},
        {"PodAndItsSpec",
         R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c"}]}})",
         {}},
        {"Namespace", R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}})", {}},
    };
}

INSTANTIATE_TEST_SUITE_P(
    Codec, Rules, ::testing::Combine(::testing::ValuesIn(cases()), ::testing::Values(Format::kYaml, Format::kJson)),
    [](const auto& test) {
        return std::string(std::get<0>(test.param).name) + (std::get<1>(test.param) == Format::kYaml ? "Yaml" : "Json");
    });

TEST(SliceLimits, RefusesMoreEndpointsThanTheApiServer) {
    std::string endpoints;
    for (int i = 0; i < 1000; ++i) endpoints += R"({"addresses":["10.0.0.1"]},)";
    const auto with = [&](std::string_view last) {
        return slice(R"("addressType":"IPv4","endpoints":[)" + endpoints + std::string(last) + "]");
    };
    endpoints.pop_back();
    EXPECT_EQ(decode_text(with(""), Format::kJson).only<EndpointSlice>().endpoints.size(), 1000U);
    EXPECT_THAT(
        decode_text(with(R"(,{"addresses":["10.0.0.1"]})"), Format::kJson).lines(),
        ElementsAre("f:1: EndpointSlice default/web-1: endpoints: a list: must not have more than 1000 entries"));
}

// CVE-2021-25737: such an endpoint goes, the others stay.
TEST(SliceLimits, LeavesOutOnlyEndpointsOfLoopbackAndLink) {
    const auto got = decode_text(slice(R"("addressType":"IPv4","endpoints":[{"addresses":["127.0.0.1"]},)"
                                       R"({"addresses":["10.0.0.1"]},{"addresses":["224.0.0.251"]},)"
                                       R"({"addresses":["10.0.0.2","127.0.0.1"]}])"),
                                 Format::kJson);
    std::vector<std::string> left;
    for (const auto& endpoint : got.only<EndpointSlice>().endpoints) left.push_back(endpoint.address.text());
    EXPECT_THAT(left, ElementsAre("10.0.0.1", "10.0.0.2"));
}

}  // namespace
}  // namespace ghostip::api

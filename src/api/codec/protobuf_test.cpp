// Objects in protobuf: that they mean what the same objects mean in JSON, and what of a message is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/stream_testing.h"

namespace ghostip::api {
namespace {

using ::testing::ElementsAre;
using testing::envelope;
using testing::event;
using ::testing::IsEmpty;
using testing::Message;
using testing::metadata;

struct Same {
    const char* name;
    Kind kind;
    const char* api_version;
    Message message;
    std::string json;  // without apiVersion and kind
};

std::ostream& operator<<(std::ostream& out, const Same& test) { return out << test.name; }

class SameObject : public ::testing::TestWithParam<Same> {};

TEST_P(SameObject, InBothEncodings) {
    const Same& test = GetParam();
    const auto protobuf =
        testing::read_watch(Encoding::kProtobuf, test.kind,
                            {event("MODIFIED", envelope(test.api_version, kind_name(test.kind), test.message))});
    const auto json =
        testing::read_watch(Encoding::kJson, test.kind,
                            {fmt::format(R"({{"type":"MODIFIED","object":{{"apiVersion":"{}","kind":"{}",{}}}}})",
                                         test.api_version, kind_name(test.kind), test.json)});
    EXPECT_THAT(protobuf.lines, IsEmpty());
    ASSERT_EQ(protobuf.all.size(), 1U);
    EXPECT_TRUE(protobuf.all[0].object.has_value());
    EXPECT_TRUE(testing::same(protobuf, json)) << ::testing::PrintToString(json.lines);
}

std::vector<Same> same_objects() {
    const auto port = [](const char* name, const char* protocol, int number, int node_port) {
        return Message()
            .text(1, name)
            .text(2, protocol)
            .number(3, number)
            .message(4, Message().number(1, 0).number(2, 8080).text(3, ""))
            .number(5, node_port);
    };
    const Message full_spec = Message()
                                  .message(1, port("a", "TCP", 80, 30080))
                                  .message(1, port("b", "UDP", 53, 0).text(6, "dns"))
                                  .entry(2, "app", "web")
                                  .text(3, "10.0.0.1")
                                  .text(4, "LoadBalancer")
                                  .text(5, "192.0.2.1")
                                  .text(5, "192.0.2.2")
                                  .text(7, "ClientIP")
                                  .text(8, "")
                                  .text(9, "10.0.0.0/8")
                                  .text(10, "")
                                  .text(11, "Local")
                                  .number(12, 31000)
                                  .boolean(13, true)
                                  .message(14, Message().message(1, Message().number(1, 60)))
                                  .text(17, "PreferDualStack")
                                  .text(18, "10.0.0.1")
                                  .text(18, "fd00::1")
                                  .text(19, "IPv4")
                                  .text(19, "IPv6")
                                  .boolean(20, true)
                                  .text(22, "Local")
                                  .text(23, "PreferClose");
    const Message ingress = Message()
                                .message(1, Message().text(1, "203.0.113.1").text(2, "").text(3, "VIP"))
                                .message(1, Message().text(1, "203.0.113.2").text(2, "").text(3, "Proxy"))
                                .message(1, Message().text(1, "").text(2, "lb.example").message(4, Message()));
    const Message empty_spec = Message()
                                   .text(3, "")
                                   .text(4, "ExternalName")
                                   .text(7, "")
                                   .text(8, "")
                                   .text(10, "db.example")
                                   .text(11, "")
                                   .number(12, 0)
                                   .boolean(13, false);
    const Message endpoints =
        Message()
            .message(1, metadata("web-1", "shop", "7")
                            .entry(11, "kubernetes.io/service-name", "web")
                            .entry(11, "service.kubernetes.io/headless", "")
                            .entry(12, "endpoints.kubernetes.io/last-change-trigger-time", "2026-01-02T03:04:05.6Z"))
            .message(2, Message()
                            .text(1, "fd00::1")
                            .text(1, "fd00::2")
                            .message(2, Message().boolean(1, false).boolean(2, true).boolean(3, true))
                            .text(6, "n1")
                            .message(8, Message()
                                            .message(1, Message().text(1, "a"))
                                            .message(1, Message().text(1, "b"))
                                            .message(2, Message().text(1, "n1"))))
            .message(2, Message()
                            .text(1, "fd00::3")
                            .message(2, Message())
                            .text(3, "host")
                            .message(4, Message().text(1, "Pod"))
                            .text(6, "")
                            .message(8, Message()))
            .message(3, Message().text(1, "").text(2, "UDP").number(3, 0))
            .message(3, Message().text(1, "b").number(3, 8080).text(4, "http"))
            .text(4, "IPv6");
    const Message node_status = Message()
                                    .text(3, "")
                                    .message(5, Message().text(1, "InternalIP").text(2, "10.2.0.1"))
                                    .message(5, Message().text(1, "Hostname").text(2, "n1"))
                                    .message(5, Message().text(1, "ExternalIP").text(2, "2001:db8::2"))
                                    .message(7, Message().text(1, "id"));
    const Message node_spec =
        Message()
            .text(1, "10.3.0.0/24")
            .boolean(4, true)
            .message(5, Message().text(1, "ToBeDeletedByClusterAutoscaler").text(2, "").text(3, "x"))
            .text(7, "10.3.0.0/24")
            .text(7, "fd00::/64");
    const std::string name = R"("metadata":{"name":"web","namespace":"shop","resourceVersion":"7"})";
    return {
        {"FullService", Kind::kService, "v1",
         Message()
             .message(1, metadata("web", "shop", "7").entry(11, "service.kubernetes.io/service-proxy-name", "x"))
             .message(2, full_spec)
             .message(3, Message().message(1, ingress)),
         R"("metadata":{"name":"web","namespace":"shop","resourceVersion":"7","labels":{"service.kubernetes.io/service-proxy-name":"x"}},
            "spec":{"ports":[{"name":"a","protocol":"TCP","port":80,"nodePort":30080},{"name":"b","protocol":"UDP","port":53}],
            "clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1","fd00::1"],"ipFamilies":["IPv4","IPv6"],"type":"LoadBalancer",
            "externalIPs":["192.0.2.1","192.0.2.2"],"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},
            "loadBalancerSourceRanges":["10.0.0.0/8"],"externalTrafficPolicy":"Local","internalTrafficPolicy":"Local","healthCheckNodePort":31000},
            "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.1","ipMode":"VIP"},{"ip":"203.0.113.2","ipMode":"Proxy"},{"hostname":"lb.example"}]}})"},
        {"ServiceOfEmptyFields", Kind::kService, "v1",
         Message()
             .message(1, metadata("web", "shop", "7"))
             .message(2, empty_spec)
             .message(3, Message().message(1, Message())),
         name + R"(,"spec":{"type":"ExternalName","externalName":"db.example"},"status":{"loadBalancer":{}})"},
        {"ServiceBackwards", Kind::kService, "v1",
         Message()
             .message(2, Message().text(3, "None").text(18, "None").message(1, Message().number(3, 80)))
             .message(1, Message().text(6, "7").text(3, "shop").text(1, "web")),
         name + R"(,"spec":{"clusterIP":"None","clusterIPs":["None"],"ports":[{"port":80}]})"},
        {"Slice", Kind::kEndpointSlice, "discovery.k8s.io/v1", endpoints,
         R"("metadata":{"name":"web-1","namespace":"shop","resourceVersion":"7",
            "labels":{"kubernetes.io/service-name":"web","service.kubernetes.io/headless":""},
            "annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-02T03:04:05.6Z"}},"addressType":"IPv6",
            "endpoints":[{"addresses":["fd00::1","fd00::2"],"conditions":{"ready":false,"serving":true,"terminating":true},
            "nodeName":"n1","hints":{"forZones":[{"name":"a"},{"name":"b"}],"forNodes":[{"name":"n1"}]}},
            {"addresses":["fd00::3"],"conditions":{},"hostname":"host","nodeName":"","hints":{}}],
            "ports":[{"name":"","protocol":"UDP","port":0},{"name":"b","port":8080,"appProtocol":"http"}])"},
        {"Node", Kind::kNode, "v1",
         Message()
             .message(1, metadata("n1", "", "8")
                             .message(9, Message().number(1, 1'764'000'000).number(2, 0))
                             .entry(11, "topology.kubernetes.io/zone", "a"))
             .message(2, node_spec)
             .message(3, node_status),
         R"("metadata":{"name":"n1","resourceVersion":"8","deletionTimestamp":"2026-01-02T03:04:05Z","labels":{"topology.kubernetes.io/zone":"a"}},
            "spec":{"podCIDR":"10.3.0.0/24","podCIDRs":["10.3.0.0/24","fd00::/64"],"taints":[{"key":"ToBeDeletedByClusterAutoscaler","effect":"x"}]},
            "status":{"addresses":[{"type":"InternalIP","address":"10.2.0.1"},{"type":"Hostname","address":"n1"},{"type":"ExternalIP","address":"2001:db8::2"}]})"},
        {"NodeWithTheZeroTime", Kind::kNode, "v1", Message().message(1, metadata("n1", "", "8").message(9, Message())),
         R"("metadata":{"name":"n1","resourceVersion":"8","deletionTimestamp":null})"},
        {"ServiceCidr", Kind::kServiceCidr, "networking.k8s.io/v1",
         Message()
             .message(1, metadata("c", "", "9"))
             .message(2, Message().text(1, "10.96.0.0/12").text(1, "fd00::/108"))
             .message(3, Message().message(1, Message().text(1, "Ready"))),
         R"("metadata":{"name":"c","resourceVersion":"9"},"spec":{"cidrs":["10.96.0.0/12","fd00::/108"]})"},
        {"Namespace", Kind::kNamespace, "v1", Message().message(1, metadata("shop", "", "3")),
         R"("metadata":{"name":"shop","resourceVersion":"3"})"},
    };
}

INSTANTIATE_TEST_SUITE_P(Protobuf, SameObject, ::testing::ValuesIn(same_objects()),
                         [](const auto& test) { return std::string(test.param.name); });

struct Refused {
    const char* name;
    Message message;
    std::string line;  // without `Service shop/web: `
};

std::ostream& operator<<(std::ostream& out, const Refused& test) { return out << test.name; }

class RefusedObject : public ::testing::TestWithParam<Refused> {};

TEST_P(RefusedObject, IsNamedAndHandedOnWithoutValue) {
    const auto line = "Service shop/web: " + GetParam().line;
    const std::string body = envelope("v1", "Service", GetParam().message);
    // An event behind it is as good as ever.
    const auto bookmark = event("BOOKMARK", envelope("v1", "Service", Message().message(1, metadata("", "", "8"))));
    const auto watch = testing::read_watch(Encoding::kProtobuf, Kind::kService, {event("MODIFIED", body), bookmark});
    EXPECT_TRUE(watch.end);
    EXPECT_THAT(watch.lines, ElementsAre(line));
    EXPECT_THAT(testing::texts(watch), ElementsAre("MODIFIED Service shop/web 7 undecoded", "BOOKMARK 8"));

    const Message items = Message()
                              .message(1, Message().text(2, "9"))
                              .message(2, GetParam().message)
                              .message(2, Message().message(1, metadata("other", "shop", "6")));
    const auto list = testing::read_list(Encoding::kProtobuf, Kind::kService, {envelope("v1", "ServiceList", items)});
    EXPECT_TRUE(list.end);
    EXPECT_THAT(list.lines, ElementsAre(line));
    EXPECT_THAT(testing::texts(list), ElementsAre("ADDED Service shop/web 7 undecoded", "ADDED Service shop/other 6"));
}

Message with_spec(const Message& spec) { return Message().message(1, metadata("web", "shop", "7")).message(2, spec); }

INSTANTIATE_TEST_SUITE_P(
    Protobuf, RefusedObject,
    ::testing::Values(
        Refused{"Rule", with_spec(Message().message(1, Message().text(1, "http").number(3, 70000))),
                "spec.ports[0].port: 70000: must be a number from 1 to 65535"},
        Refused{"PortOfZero", with_spec(Message().message(1, Message().number(3, 0))),
                "spec.ports[0].port: must be a number from 1 to 65535"},
        Refused{"NegativeNumber", with_spec(Message().message(1, Message().number(3, 80).number(5, -1))),
                "spec.ports[0].nodePort: -1: must be a number from 0 to 65535"},
        Refused{"NoUtf8", with_spec(Message().text(5, "a").text(5, "\xc3(")),
                "spec.externalIPs[1]: is not valid UTF-8"},
        Refused{"Twice", with_spec(Message().text(3, "10.0.0.1").text(3, "10.0.0.2")),
                "spec.clusterIP: is there twice"},
        Refused{"NumberForText", with_spec(Message().number(4, 1)),
                "spec.type: is not of the type that it should have"},
        Refused{"TextForNumber",
                with_spec(Message().message(1, Message().number(3, 80)).message(1, Message().text(3, "80"))),
                "spec.ports[1].port: is not of the type that it should have"},
        Refused{"MessageTwice", with_spec(Message().message(1, Message().number(3, 80))).text(2, "\x0a\x7f"),
                "spec: is there twice"},
        Refused{"PartCutOff",
                Message()
                    .message(1, metadata("web", "shop", "7"))
                    .text(2,
                          "\x0a\x05"
                          "ab"),
                "spec.ports[0]: is not valid protobuf: end of buffer exception"},
        Refused{
            "LabelTwice",
            Message().message(1,
                              metadata("web", "shop", "7").entry(11, "a", "1").entry(11, "b", "2").entry(11, "a", "1")),
            "metadata.labels: the key \"a\" is there twice in one mapping"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(ProtobufObject, UnknownFieldsOfEveryWireTypeAreSkipped) {
    Message odd = with_spec(Message().number(999, 5).text(3, "10.0.0.1")).number(1000, -1).text(18999, "x");
    std::string bytes = odd.bytes();
    bytes += std::string(
        "\xa1\x06"
        "12345678",
        10);  // field 100, 64 bits
    bytes += std::string(
        "\xa5\x06"
        "1234",
        6);  // field 100, 32 bits
    const auto watch = testing::read_watch(
        Encoding::kProtobuf, Kind::kService,
        {event("ADDED", std::string("k8s\0", 4) +
                            Message().message(1, Message().text(1, "v1").text(2, "Service")).text(2, bytes).bytes())});
    EXPECT_THAT(watch.lines, IsEmpty());
    EXPECT_THAT(testing::texts(watch), ElementsAre("ADDED Service shop/web 7"));
}

TEST(ProtobufObject, WithoutAReadableNameIsHandedOnAllTheSame) {
    for (const auto& message : {Message(), Message().message(1, Message()),
                                Message().message(1, Message().text(1, "\xff")), Message().text(1, "\x0a\x7f")}) {
        const auto watch = testing::read_watch(Encoding::kProtobuf, Kind::kService,
                                               {event("ADDED", envelope("v1", "Service", message))});
        EXPECT_TRUE(watch.end);
        EXPECT_EQ(watch.lines.size(), 1U) << ::testing::PrintToString(watch.lines);
        ASSERT_EQ(watch.all.size(), 1U);
        EXPECT_EQ(watch.all[0].key, (ObjectKey{Kind::kService, {}, {}}));
        EXPECT_FALSE(watch.all[0].object);
    }
}

}  // namespace
}  // namespace ghostip::api

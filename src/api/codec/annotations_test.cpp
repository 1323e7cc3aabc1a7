#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/decode_testing.h"

namespace ghostip::api::codec {
namespace {

using testing::decode_text;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

testing::Collected service(std::string_view annotations) {
    return decode_text(
        fmt::format("{{apiVersion: v1, kind: Service, metadata: {{name: a, annotations: {{{}}}}}}}", annotations),
        Format::kYaml);
}

std::vector<std::string> texts(const std::vector<EndpointWeight>& weights) {
    std::vector<std::string> result;
    for (const auto& weight : weights) result.push_back(fmt::format("{}={}", weight.address.text(), weight.weight));
    return result;
}

TEST(Annotations, NameASchedulerAndWeights) {
    const auto got = service(
        "ghostip.io/ipvs-scheduler: ' wlc ', ghostip.io/endpoint-weights: '10.1.2.4=0,fd00::1 = 65535, , "
        "10.1.2.003=5', other: x");
    EXPECT_THAT(got.lines(), IsEmpty());
    EXPECT_EQ(got.only<Service>().scheduler, "wlc");
    EXPECT_THAT(texts(got.only<Service>().endpoint_weights), ElementsAre("10.1.2.3=5", "10.1.2.4=0", "fd00::1=65535"));
}

TEST(Annotations, AskForAProxyHeader) {
    EXPECT_EQ(service("ghostip.io/proxy-protocol: v1").only<Service>().proxy_protocol, 1);
    EXPECT_EQ(service("ghostip.io/proxy-protocol: ' v2 '").only<Service>().proxy_protocol, 2);
    EXPECT_EQ(service("other: v2").only<Service>().proxy_protocol, 0);
    for (const auto* bad : {"v3", "1", "V1", "yes"}) {
        const auto got = service(fmt::format("ghostip.io/proxy-protocol: '{}'", bad));
        EXPECT_EQ(got.only<Service>().proxy_protocol, 0);
        EXPECT_THAT(got.lines(),
                    ElementsAre(fmt::format(
                        "notice f:1: Service default/a: metadata.annotations[\"ghostip.io/proxy-protocol\"]: \"{}\": "
                        "is neither v1 nor v2; endpoints get no header",
                        bad)));
    }
}

TEST(Annotations, OfSlicesAreContent) {
    const auto slice = [](std::string_view weights) {
        return decode_text(fmt::format("{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, "
                                       "metadata: {{name: a, annotations: {{ghostip.io/endpoint-weights: '{}'}}}}}}",
                                       weights),
                           Format::kYaml);
    };
    const auto one = slice("10.1.2.3=5");
    const auto other = slice("10.1.2.3=6");
    EXPECT_THAT(texts(one.only<EndpointSlice>().endpoint_weights), ElementsAre("10.1.2.3=5"));
    EXPECT_FALSE(same_content(one.objects[0].object, other.objects[0].object));
}

TEST(Annotations, ThatMakeNoSenseAreNamedOnce) {
    for (const auto* name : {"Round Robin", "a-name-that-is-too-long", "wrr/x", "ftp", "pe_sip"}) {
        const auto got = service(fmt::format("ghostip.io/ipvs-scheduler: '{}'", name));
        EXPECT_EQ(got.only<Service>().scheduler, "");
        EXPECT_THAT(got.lines(),
                    ElementsAre(fmt::format("notice f:1: Service default/a: "
                                            "metadata.annotations[\"ghostip.io/ipvs-scheduler\"]: \"{}\": is not one "
                                            "of the schedulers rr, wrr, lc, wlc, lblc, lblcr, sh, dh, sed, nq, mh, fo, "
                                            "ovf; the node's is used",
                                            name)));
    }
    for (const auto* bad : {"x=1", "10.1.2.4", "10.1.2.4=", "10.1.2.4=-1", "10.1.2.4=65536", "10.1.2.4=5x",
                            "10.1.2.4=99999999999999999999", "=5"}) {
        const auto got = service(fmt::format("ghostip.io/endpoint-weights: '{}, 10.1.2.3=7, q'", bad));
        EXPECT_THAT(texts(got.only<Service>().endpoint_weights), ElementsAre("10.1.2.3=7")) << bad;
        EXPECT_THAT(got.lines(),
                    ElementsAre(fmt::format(
                        "notice f:1: Service default/a: metadata.annotations[\"ghostip.io/endpoint-weights\"]: "
                        "\"{0}, 10.1.2.3=7, q\": {0} is not ADDRESS=WEIGHT with a weight from 0 to 65535; what is not "
                        "is left out",
                        bad)));
    }
    EXPECT_THAT(texts(service("ghostip.io/endpoint-weights: '10.1.2.3=7,10.1.2.3=8'").only<Service>().endpoint_weights),
                ElementsAre("10.1.2.3=8"));
}

}  // namespace
}  // namespace ghostip::api::codec

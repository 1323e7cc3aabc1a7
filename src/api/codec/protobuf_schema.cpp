#include "api/codec/protobuf_schema.h"

#include <array>

namespace ghostip::api::codec {
namespace {

using enum ProtobufType;
using enum Presence;
using Field = ProtobufField;

// k8s.io/apimachinery/pkg/apis/meta/v1
constexpr std::array kObjectMetaFields{
    Field{1, "name", kString},
    Field{3, "namespace", kString},
    Field{6, "resourceVersion", kString},
    Field{9, "deletionTimestamp", kTime, kPointer},
    Field{11, "labels", kStringMap},
    Field{12, "annotations", kStringMap},
};
constexpr ProtobufMessage kObjectMeta{kObjectMetaFields};

constexpr std::array kListMetaFields{
    Field{2, "resourceVersion", kString},
    Field{3, "continue", kString},
};

constexpr std::array kStatusCauseFields{
    Field{1, "reason", kString},
    Field{2, "message", kString},
};
constexpr ProtobufMessage kStatusCause{kStatusCauseFields};

constexpr std::array kStatusDetailsFields{
    Field{4, "causes", kMessage, kRepeated, &kStatusCause},
    Field{5, "retryAfterSeconds", kInt32},
};
constexpr ProtobufMessage kStatusDetails{kStatusDetailsFields};

constexpr std::array kStatusFields{
    Field{2, "status", kString}, Field{3, "message", kString},
    Field{4, "reason", kString}, Field{5, "details", kMessage, kPointer, &kStatusDetails},
    Field{6, "code", kInt32},
};

// k8s.io/api/core/v1: Service
constexpr std::array kServicePortFields{
    Field{1, "name", kString},
    Field{2, "protocol", kString},
    Field{3, "port", kInt32},
    Field{5, "nodePort", kInt32},
};
constexpr ProtobufMessage kServicePort{kServicePortFields};

constexpr std::array kClientIpConfigFields{Field{1, "timeoutSeconds", kInt32, kPointer}};
constexpr ProtobufMessage kClientIpConfig{kClientIpConfigFields};

constexpr std::array kSessionAffinityConfigFields{Field{1, "clientIP", kMessage, kPointer, &kClientIpConfig}};
constexpr ProtobufMessage kSessionAffinityConfig{kSessionAffinityConfigFields};

constexpr std::array kServiceSpecFields{
    Field{1, "ports", kMessage, kRepeated, &kServicePort},
    Field{3, "clusterIP", kString},
    Field{4, "type", kString},
    Field{5, "externalIPs", kString, kRepeated},
    Field{7, "sessionAffinity", kString},
    Field{9, "loadBalancerSourceRanges", kString, kRepeated},
    Field{11, "externalTrafficPolicy", kString},
    Field{12, "healthCheckNodePort", kInt32},
    Field{14, "sessionAffinityConfig", kMessage, kPointer, &kSessionAffinityConfig},
    Field{18, "clusterIPs", kString, kRepeated},
    Field{19, "ipFamilies", kString, kRepeated},
    Field{22, "internalTrafficPolicy", kString, kPointer},
};
constexpr ProtobufMessage kServiceSpec{kServiceSpecFields};

constexpr std::array kLoadBalancerIngressFields{
    Field{1, "ip", kString},
    Field{3, "ipMode", kString, kPointer},
};
constexpr ProtobufMessage kLoadBalancerIngress{kLoadBalancerIngressFields};

constexpr std::array kLoadBalancerStatusFields{Field{1, "ingress", kMessage, kRepeated, &kLoadBalancerIngress}};
constexpr ProtobufMessage kLoadBalancerStatus{kLoadBalancerStatusFields};

constexpr std::array kServiceStatusFields{Field{1, "loadBalancer", kMessage, kPlain, &kLoadBalancerStatus}};
constexpr ProtobufMessage kServiceStatus{kServiceStatusFields};

constexpr std::array kServiceFields{
    Field{1, "metadata", kMessage, kPlain, &kObjectMeta},
    Field{2, "spec", kMessage, kPlain, &kServiceSpec},
    Field{3, "status", kMessage, kPlain, &kServiceStatus},
};

// k8s.io/api/discovery/v1
constexpr std::array kEndpointConditionsFields{
    Field{1, "ready", kBool, kPointer},
    Field{2, "serving", kBool, kPointer},
    Field{3, "terminating", kBool, kPointer},
};
constexpr ProtobufMessage kEndpointConditions{kEndpointConditionsFields};

// ForZone and ForNode.
constexpr std::array kNamedFields{Field{1, "name", kString}};
constexpr ProtobufMessage kNamed{kNamedFields};

constexpr std::array kEndpointHintsFields{
    Field{1, "forZones", kMessage, kRepeated, &kNamed},
    Field{2, "forNodes", kMessage, kRepeated, &kNamed},
};
constexpr ProtobufMessage kEndpointHints{kEndpointHintsFields};

constexpr std::array kEndpointFields{
    Field{1, "addresses", kString, kRepeated},
    Field{2, "conditions", kMessage, kPlain, &kEndpointConditions},
    Field{6, "nodeName", kString, kPointer},
    Field{8, "hints", kMessage, kPointer, &kEndpointHints},
};
constexpr ProtobufMessage kEndpoint{kEndpointFields};

constexpr std::array kEndpointPortFields{
    Field{1, "name", kString, kPointer},
    Field{2, "protocol", kString, kPointer},
    Field{3, "port", kInt32, kPointer},
};
constexpr ProtobufMessage kEndpointPort{kEndpointPortFields};

constexpr std::array kEndpointSliceFields{
    Field{1, "metadata", kMessage, kPlain, &kObjectMeta},
    Field{2, "endpoints", kMessage, kRepeated, &kEndpoint},
    Field{3, "ports", kMessage, kRepeated, &kEndpointPort},
    Field{4, "addressType", kString},
};

// k8s.io/api/core/v1: Node
constexpr std::array kTaintFields{Field{1, "key", kString}};
constexpr ProtobufMessage kTaint{kTaintFields};

constexpr std::array kNodeSpecFields{
    Field{1, "podCIDR", kString},
    Field{5, "taints", kMessage, kRepeated, &kTaint},
    Field{7, "podCIDRs", kString, kRepeated},
};
constexpr ProtobufMessage kNodeSpec{kNodeSpecFields};

constexpr std::array kNodeAddressFields{
    Field{1, "type", kString},
    Field{2, "address", kString},
};
constexpr ProtobufMessage kNodeAddress{kNodeAddressFields};

constexpr std::array kNodeStatusFields{Field{5, "addresses", kMessage, kRepeated, &kNodeAddress}};
constexpr ProtobufMessage kNodeStatus{kNodeStatusFields};

constexpr std::array kNodeFields{
    Field{1, "metadata", kMessage, kPlain, &kObjectMeta},
    Field{2, "spec", kMessage, kPlain, &kNodeSpec},
    Field{3, "status", kMessage, kPlain, &kNodeStatus},
};

// k8s.io/api/networking/v1
constexpr std::array kServiceCidrSpecFields{Field{1, "cidrs", kString, kRepeated}};
constexpr ProtobufMessage kServiceCidrSpec{kServiceCidrSpecFields};

constexpr std::array kServiceCidrFields{
    Field{1, "metadata", kMessage, kPlain, &kObjectMeta},
    Field{2, "spec", kMessage, kPlain, &kServiceCidrSpec},
};

constexpr std::array kAnyObjectFields{Field{1, "metadata", kMessage, kPlain, &kObjectMeta}};

constexpr ProtobufMessage kService{kServiceFields};
constexpr ProtobufMessage kEndpointSlice{kEndpointSliceFields};
constexpr ProtobufMessage kNode{kNodeFields};
constexpr ProtobufMessage kServiceCidr{kServiceCidrFields};

}  // namespace

constinit const ProtobufMessage kAnyObject{kAnyObjectFields};
constinit const ProtobufMessage kListMetaMessage{kListMetaFields};
constinit const ProtobufMessage kStatusMessage{kStatusFields};

const ProtobufMessage& message_of(Kind kind) {
    switch (kind) {
        case Kind::kService: return kService;
        case Kind::kEndpointSlice: return kEndpointSlice;
        case Kind::kNode: return kNode;
        case Kind::kServiceCidr: return kServiceCidr;
        case Kind::kPod:
        case Kind::kNamespace: break;  // nothing is read from them yet
    }
    return kAnyObject;
}

}  // namespace ghostip::api::codec

// The kinds of which little is read: v1 Node, networking.k8s.io/v1 ServiceCIDR, v1 Pod, v1 Namespace.
#include "api/codec/object_decoder.h"
#include "api/codec/values.h"

namespace ghostip::api::codec {
namespace {

constexpr std::string_view kZoneLabel = "topology.kubernetes.io/zone";
constexpr std::string_view kAutoscalerTaint = "ToBeDeletedByClusterAutoscaler";

void decode_node_addresses(const Field& root, Node& node) {
    const Field status = root.mapping("status");
    status.member("addresses").each([&](const Field& entry) {
        if (!entry.is_mapping()) return entry.error("must be a mapping");
        const auto type = entry.member("type").text();
        if (type != "InternalIP" && type != "ExternalIP") return;  // host names
        const auto address = address_of(entry.member("address"), Unparsable::kIsSkipped);
        if (!address) return;
        node.addresses.push_back(
            {type == "InternalIP" ? NodeAddressType::kInternalIp : NodeAddressType::kExternalIp, *address});
    });
}

std::vector<net::Prefix> decode_ranges(const Field& list) {
    std::vector<net::Prefix> ranges;
    list.each([&](const Field& entry) {
        if (!entry.given()) return entry.error("is not an address range (for example 10.0.0.0/8)");
        if (const auto range = range_of(entry, Unparsable::kIsError)) ranges.push_back(*range);
    });
    return ranges;
}

}  // namespace

Object decode_node(Source source) {
    auto node = std::make_shared<Node>();
    node->name = std::move(source.name);
    node->zone = label(source, kZoneLabel).value_or("");
    node->deleting = source.metadata.member("deletionTimestamp").given();
    const Field spec = source.root.mapping("spec");
    node->pod_cidrs = decode_ranges(spec.member("podCIDRs"));
    if (const Field single = spec.member("podCIDR"); node->pod_cidrs.empty() && single.given() && single.text() != "")
        if (const auto range = range_of(single, Unparsable::kIsError)) node->pod_cidrs.push_back(*range);
    spec.member("taints").each([&](const Field& taint) {
        if (!taint.is_mapping()) return taint.error("must be a mapping");
        if (taint.member("key").text() == kAutoscalerTaint) node->to_be_deleted_by_autoscaler = true;
    });
    decode_node_addresses(source.root, *node);
    return std::shared_ptr<const Node>(std::move(node));
}

Object decode_service_cidr(Source source) {
    auto cidr = std::make_shared<ServiceCidr>();
    cidr->name = std::move(source.name);
    const Field spec = source.root.mapping("spec");
    const Field cidrs = spec.member("cidrs");
    if (!cidrs.given() || cidrs.is_empty_list()) cidrs.error("must have an address range");
    cidr->cidrs = decode_ranges(cidrs);
    if (cidr->cidrs.size() > 2 || (cidr->cidrs.size() == 2 && cidr->cidrs[0].family() == cidr->cidrs[1].family()))
        cidrs.error("must have one range, or one of each family");
    return std::shared_ptr<const ServiceCidr>(std::move(cidr));
}

Object decode_pod(Source source) {
    return std::make_shared<const Pod>(Pod{std::move(source.namespace_), std::move(source.name)});
}

Object decode_namespace(Source source) { return std::make_shared<const Namespace>(Namespace{std::move(source.name)}); }

}  // namespace ghostip::api::codec

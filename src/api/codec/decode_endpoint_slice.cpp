// discovery.k8s.io/v1 EndpointSlice.
#include <algorithm>

#include <fmt/format.h>

#include "api/codec/names.h"
#include "api/codec/object_decoder.h"
#include "api/codec/rfc3339.h"
#include "api/codec/values.h"
#include "net/special_range.h"

namespace ghostip::api::codec {
namespace {

constexpr std::string_view kServiceNameLabel = "kubernetes.io/service-name";
constexpr std::string_view kHeadlessLabel = "service.kubernetes.io/headless";
constexpr std::string_view kTriggerTimeAnnotation = "endpoints.kubernetes.io/last-change-trigger-time";
// The API server's limit. It also keeps the searches for distinct names short, and indices below Endpoint::kNone.
constexpr std::size_t kMostEndpoints = 1000;

SlicePort decode_port(const Field& entry) {
    SlicePort port;
    if (!entry.is_mapping()) {
        entry.error("must be a mapping");
        return port;
    }
    // The API server stores a name that is left out as the empty one; null is nobody's, and makes the port unusable.
    const Field name = entry.member("name");
    if (!name.present()) port.name = "";
    if (const auto text = name.text()) {
        port.name = *text;
        if (!text->empty() && !is_dns_label(*text)) name.error(std::string(kDnsLabelRule));
    }
    port.protocol = protocol_of(entry.member("protocol"));
    if (const auto number = entry.member("port").number(0, 65535)) port.port = static_cast<std::uint16_t>(*number);
    return port;
}

template <typename T, typename Value>
std::uint16_t index_of(std::vector<T>& distinct, const Value& value) {
    // Neighbours often share a node or a zone.
    const auto found = std::find(distinct.rbegin(), distinct.rend(), value);
    if (found != distinct.rend()) return static_cast<std::uint16_t>(distinct.rend() - found - 1);
    distinct.emplace_back(value);
    return static_cast<std::uint16_t>(distinct.size() - 1);
}

std::vector<std::string> decode_names(const Field& list) {
    std::vector<std::string> names;
    list.each([&](const Field& entry) {
        if (!entry.is_mapping()) return entry.error("must be a mapping");
        if (const auto name = entry.member("name").text()) names.emplace_back(*name);
    });
    return names;
}

// addresses[0]; the others are checked and never used.
std::optional<net::IpAddress> decode_address(const Field& entry, net::Family family) {
    std::optional<net::IpAddress> first;
    const Field addresses = entry.member("addresses");
    if (!addresses.given() || addresses.is_empty_list()) {
        entry.notice("has no address; left out");
        return first;
    }
    int count = 0;
    addresses.each([&](const Field& field) {
        ++count;
        if (!field.given()) return field.error("is not an IP address");
        const auto address = address_of(field, Unparsable::kIsError);
        if (!address) return;
        // What the API server refuses (ValidateEndpointIP): whoever may write slices could else reach services that
        // listen on the node's loopback or link only (CVE-2021-25737). The rest of the slice is as good as ever.
        if (const auto special = net::special_range(*address); special != net::SpecialRange::kNone)
            return field.notice(
                fmt::format("is {}, which cannot be an endpoint; left out", net::special_range_text(special)));
        if (address->family() != family)
            return field.error(fmt::format("must be an {} address, as addressType says", net::family_name(family)));
        if (count == 1) first = address;
    });
    return first;
}

void decode_endpoint(const Field& entry, EndpointSlice& slice) {
    if (!entry.is_mapping()) return entry.error("must be a mapping");
    // Host names (FQDN) are nothing that a packet can be sent to.
    if (slice.address_type == AddressType::kOther) return;
    const auto address =
        decode_address(entry, slice.address_type == AddressType::kIpv6 ? net::Family::kIpv6 : net::Family::kIpv4);
    const Field conditions = entry.mapping("conditions");
    const bool ready = conditions.member("ready").boolean().value_or(true);
    const bool serving = conditions.member("serving").boolean().value_or(true);
    const bool terminating = conditions.member("terminating").boolean().value_or(false);
    const auto node = entry.member("nodeName").text();
    const Field hints = entry.mapping("hints");
    const Hints names{decode_names(hints.member("forZones")), decode_names(hints.member("forNodes"))};
    if (!address) return;
    slice.endpoints.push_back({.address = *address,
                               .ready = ready,
                               .serving = serving,
                               .terminating = terminating,
                               .node = node ? index_of(slice.node_names, *node) : Endpoint::kNone,
                               .hints = names == Hints{} ? Endpoint::kNone : index_of(slice.hints, names)});
}

void check_ports(const Field& list, const std::vector<SlicePort>& ports) {
    for (std::size_t i = 0; i < ports.size(); ++i)
        for (std::size_t before = 0; before < i; ++before)
            if (ports[i].name && ports[i].name == ports[before].name)
                return list.error(fmt::format("the name \"{}\" is there twice", *ports[i].name));
}

void decode_trigger_time(const Source& source, EndpointSlice& slice) {
    const Field annotations = source.metadata.mapping("annotations");
    const Field entry = annotations.member(kTriggerTimeAnnotation);
    const auto text = entry.text();
    if (!text) return;
    slice.last_change_trigger_time = parse_rfc3339(*text);
    if (!slice.last_change_trigger_time) entry.notice("is not a time (RFC 3339); ignored");
}

}  // namespace

Object decode_endpoint_slice(Source source) {
    auto slice = std::make_shared<EndpointSlice>();
    slice->namespace_ = std::move(source.namespace_);
    slice->name = std::move(source.name);
    slice->service_name = label(source, kServiceNameLabel).value_or("");
    slice->headless = label(source, kHeadlessLabel).has_value();
    decode_trigger_time(source, *slice);
    slice->endpoint_weights = endpoint_weights_of(source);

    const Field& root = source.root;
    const Field type = root.member("addressType");
    if (!type.given() || type.text() == "") type.error("must be one of IPv4, IPv6, FQDN");
    slice->address_type = type.choice<AddressType>(
        {{"IPv4", AddressType::kIpv4}, {"IPv6", AddressType::kIpv6}, {"FQDN", AddressType::kOther}},
        AddressType::kOther);

    const Field ports = root.member("ports");
    ports.each([&](const Field& entry) { slice->ports.push_back(decode_port(entry)); });
    check_ports(ports, slice->ports);
    const Field endpoints = root.member("endpoints");
    if (endpoints.size() > kMostEndpoints)
        endpoints.error(fmt::format("must not have more than {} entries", kMostEndpoints));
    if (endpoints.size() <= kMostEndpoints) {
        slice->endpoints.reserve(endpoints.size());
        endpoints.each([&](const Field& entry) { decode_endpoint(entry, *slice); });
    }
    return std::shared_ptr<const EndpointSlice>(std::move(slice));
}

}  // namespace ghostip::api::codec

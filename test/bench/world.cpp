#include "bench/world.h"

#include <fstream>
#include <memory>

#include <fmt/format.h>

namespace ghostip::bench {
namespace {

// kube-proxy's rule for endpoints `first` to `first + count - 1`.
std::string peer_rule(int first, int count, const std::string& replaced = {}) {
    std::string rule = fmt::format("meta l4proto tcp dnat ip addr . port to numgen random mod {} map {{ ", count);
    for (int e = 0; e < count; ++e)
        rule += fmt::format("{}{} : {} . {}", e == 0 ? "" : ", ", e,
                            e == 0 && !replaced.empty() ? replaced : endpoint_ip(first + e), kEndpointPort);
    return rule + " }";
}

// Above all endpoints, of which 1,000,000 end at 172.31.66.63.
std::string new_endpoint_ip(int round) { return fmt::format("172.31.{}.{}", 128 + round / 256 % 128, round % 256); }

}  // namespace

std::string with_commas(long number) {
    if (number < 1000) return fmt::format("{}", number);
    return fmt::format("{},{:03}", with_commas(number / 1000), number % 1000);
}

std::string Size::text() const { return fmt::format("{} x {}", with_commas(services), endpoints); }

std::string cluster_ip(int service) {
    return fmt::format("10.{}.{}.{}", 96 + service / 65536, service / 256 % 256, service % 256);
}
std::string endpoint_ip(int n) { return fmt::format("172.{}.{}.{}", 16 + n / 65536, n / 256 % 256, n % 256); }

ManifestWriter::ManifestWriter(const std::filesystem::path& path)
    : buffer_(R"({"apiVersion":"v1","kind":"List","items":[)"), path_(path) {
    std::ofstream(path_, std::ios::trunc).flush();
}

void ManifestWriter::add(OneService service) {
    const auto ip = cluster_ip(service.number);
    buffer_ += first_ ? "\n" : ",\n";
    first_ = false;
    buffer_ += fmt::format(
        R"({{"apiVersion":"v1","kind":"Service","metadata":{{"name":"svc-{:06}","namespace":"bench"}},"spec":{{"type":"ClusterIP","clusterIP":"{}","clusterIPs":["{}"],"ipFamilies":["IPv4"],"ports":[{{"name":"http","port":{},"protocol":"TCP","targetPort":{}}}]}}}},)",
        service.number, ip, ip, kServicePort, kEndpointPort);
    buffer_ += fmt::format(
        R"({{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"svc-{:06}-1","namespace":"bench","labels":{{"kubernetes.io/service-name":"svc-{:06}"}}}},"addressType":"IPv4","ports":[{{"name":"http","port":{},"protocol":"TCP"}}],"endpoints":[)",
        service.number, service.number, kEndpointPort);
    for (int e = 0; e < service.endpoints; ++e)
        buffer_ +=
            fmt::format(R"({}{{"addresses":["{}"],"conditions":{{"ready":true}},"nodeName":"node-{}"}})",
                        e == 0 ? "" : ",", endpoint_ip(service.first_endpoint + e), 1 + (service.number + e) % 100);
    buffer_ += "]}";
    constexpr std::size_t kAtOnce = 1 << 20;
    if (buffer_.size() < kAtOnce) return;
    std::ofstream(path_, std::ios::app) << buffer_;
    buffer_.clear();
}

void ManifestWriter::finish() { std::ofstream(path_, std::ios::app) << buffer_ << "\n]}\n"; }

void write_manifest(const std::filesystem::path& path, Size size, int from) {
    ManifestWriter writer(path);
    for (int s = 0; s < size.services; ++s) writer.add({from + s, s * size.endpoints, size.endpoints});
    writer.finish();
}

void write_peer_ruleset(const std::filesystem::path& path, Size size) {
    std::ofstream out(path);
    out << "table ip peer {\n map services { type ipv4_addr . inet_proto . inet_service : verdict; }\n"
        << " chain dispatch { ip daddr . meta l4proto . th dport vmap @services; }\n"
        << " chain prerouting { type nat hook prerouting priority -100; jump dispatch; }\n";
    for (int s = 0; s < size.services; ++s)
        out << fmt::format(" chain service-{} {{ {}; }}\n", s, peer_rule(s * size.endpoints, size.endpoints));
    out << "}\n";
    for (int s = 0; s < size.services; ++s)
        out << fmt::format("add element ip peer services {{ {} . tcp . {} : goto service-{} }}\n", cluster_ip(s),
                           kServicePort, s);
}

void write_peer_change(const std::filesystem::path& path, Size size, int round) {
    const int service = static_cast<int>(static_cast<long>(round) * 7919 % size.services);
    std::ofstream(path) << fmt::format("flush chain ip peer service-{0}\nadd rule ip peer service-{0} {1}\n", service,
                                       peer_rule(service * size.endpoints, size.endpoints, new_endpoint_ip(round)));
}

api::Change replace_endpoint(const api::Change& slice, int round, std::mt19937& random) {
    auto changed = *std::get<std::shared_ptr<const api::EndpointSlice>>(*slice.object);
    auto& endpoint = changed.endpoints[random() % changed.endpoints.size()];
    endpoint.address = *net::IpAddress::parse(new_endpoint_ip(round));
    return {slice.key, std::make_shared<const api::EndpointSlice>(std::move(changed))};
}

}  // namespace ghostip::bench

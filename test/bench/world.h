// The Services that benchmarks measure, as manifests and in kube-proxy's layout.
#pragma once

#include <filesystem>
#include <random>
#include <string>

#include "api/objects.h"

namespace ghostip::bench {

struct Size {
    int services;
    int endpoints;  // of each

    [[nodiscard]] int all_endpoints() const { return services * endpoints; }
    [[nodiscard]] std::string text() const;  // "50,000 x 2"
};

[[nodiscard]] std::string with_commas(long number);

inline constexpr int kServicePort = 80;
inline constexpr int kEndpointPort = 8080;
inline constexpr const char* kPods = "172.16.0.0/12";  // all endpoints; 10.96.0.0/15 has all cluster IPs
[[nodiscard]] std::string cluster_ip(int service);
[[nodiscard]] std::string endpoint_ip(int n);

// One Service and its slice. Names sort as numbers do, so that the kernel gets them in this order. Endpoints are
// numbered from `first_endpoint` on.
struct OneService {
    int number;
    int first_endpoint;
    int endpoints;
};
// A List of Services in JSON.
class ManifestWriter {
  public:
    explicit ManifestWriter(const std::filesystem::path& path);
    void add(OneService service);
    void finish();

  private:
    std::string buffer_;
    std::filesystem::path path_;
    bool first_ = true;
};

// As many Services as `size` says, from number `from` on.
void write_manifest(const std::filesystem::path& path, Size size, int from = 0);

// kube-proxy's layout: a chain for each Service, whose one rule has the endpoints in a map of its own, and a verdict
// map that leads there. Without its few fixed chains: what does not grow does not matter here.
void write_peer_ruleset(const std::filesystem::path& path, Size size);
// What kube-proxy writes when one endpoint of one Service was replaced: the chain is emptied and its rule made anew.
void write_peer_change(const std::filesystem::path& path, Size size, int round);

// The same slice with one endpoint replaced by an address that nobody else has.
[[nodiscard]] api::Change replace_endpoint(const api::Change& slice, int round, std::mt19937& random);

}  // namespace ghostip::bench

// What a connection pays for going through a Service (dial.h): bench_connect BINARY [--quick]
//
// 50,000 Services are in the node's rules. Most have two endpoints; the first and the last ones have pools of 1, 2, 8,
// 64 and 512.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "bench/dial.h"
#include "bench/figures.h"
#include "bench/measured_proxy.h"
#include "bench/world.h"

namespace ghostip::bench {
namespace {

constexpr int kRounds = 4000;
constexpr std::array kPoolSizes{1, 2, 8, 64, 512};
constexpr int kUsualPool = 2;

// The Services of one size class stand at both ends.
int pool_of(std::size_t service, std::size_t services) {
    if (service < kPoolSizes.size()) return kPoolSizes[service];
    if (service + kPoolSizes.size() >= services) return kPoolSizes[service + kPoolSizes.size() - services];
    return kUsualPool;
}

// For each pool size three, in this order: an endpoint itself, the first Service, the last.
std::vector<DialTarget> write_world(const std::filesystem::path& manifest, int services) {
    ManifestWriter writer(manifest);
    std::array<std::vector<DialTarget>, 2> ends;
    int endpoint = 0;
    for (int s = 0; s < services; ++s) {
        const int pool = pool_of(static_cast<std::size_t>(s), static_cast<std::size_t>(services));
        writer.add({s, endpoint, pool});
        const auto classes = static_cast<int>(kPoolSizes.size());
        if (s < classes || s >= services - classes) {
            auto& end = ends[s < classes ? 0 : 1];
            end.push_back({fmt::format("Service {}", s), pool, socket_address(cluster_ip(s), kServicePort)});
            if (s >= services - classes)
                end.push_back({"endpoint", pool, socket_address(endpoint_ip(endpoint), kEndpointPort)});
        }
        endpoint += pool;
    }
    writer.finish();
    std::vector<DialTarget> targets;
    for (std::size_t i = 0; i < kPoolSizes.size(); ++i) {
        targets.push_back(ends[1][2 * i + 1]);
        targets.push_back(ends[0][i]);
        targets.push_back(ends[1][2 * i]);
    }
    return targets;
}

void report(const std::vector<DialTarget>& targets, int services, int rounds) {
    fmt::print(
        "Connect and close, layout `flat` (the only one), {} Services, {} rounds; microseconds, median (p99)\n\n"
        "endpoints of the Service | endpoint itself | first Service | last Service | last / first | last - endpoint\n"
        "---|---|---|---|---|---\n",
        with_commas(services), with_commas(rounds));
    double ratio = 0;
    double extra = 0;
    for (std::size_t i = 0; i < targets.size(); i += 3) {
        std::array<double, 3> medians{};
        std::array<std::string, 3> texts;
        for (std::size_t k = 0; k < 3; ++k) {
            medians[k] = median(targets[i + k].microseconds);
            texts[k] = fmt::format("{:.1f} ({:.0f})", medians[k], percentile(targets[i + k].microseconds, 0.99));
        }
        fmt::print("{} | {} | {} | {} | {:.3f} | {:.1f}\n", targets[i].pool, texts[0], texts[1], texts[2],
                   medians[2] / medians[1], medians[2] - medians[0]);
        ratio = std::max(ratio, medians[2] / medians[1]);
        extra = std::max(extra, medians[2] - medians[0]);
    }
    fmt::print("\ntarget | measured | wanted | \n---|---|---|---\n");
    fmt::print("last of all Services / first, largest | {:.3f} | 1.1 | {}\n", ratio,
               ratio <= 1.1 ? "reached" : "missed");
    fmt::print("last - endpoint itself, largest | {:.1f} us | 15 us | {}\n", extra, extra <= 15 ? "reached" : "missed");
}

int run(int argc, char** argv) {
    if (argc < 2) {
        fmt::print(stderr, "usage: bench_connect BINARY [--quick]\n");
        return 2;
    }
    const bool quick = argc > 2 && std::string(argv[2]) == "--quick";
    const int services = quick ? 1000 : 50000;
    const int rounds = quick ? 200 : kRounds;
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("ghostip-bench-{}", ::getpid());
    std::filesystem::create_directory(folder);
    const auto manifest = folder / "manifest.json";
    auto targets = write_world(manifest, services);
    const DialNet net;
    static_cast<void>(must(measure_proxy(net.node(), {argv[1], manifest})));
    std::filesystem::remove_all(folder);
    net.dial_all(targets, rounds);
    report(targets, services, rounds);
    return 0;
}

}  // namespace
}  // namespace ghostip::bench

int main(int argc, char** argv) { return ghostip::bench::run(argc, argv); }

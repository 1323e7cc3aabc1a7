// What the mode ipvs costs beside its limit and beside nftables, for a kernel that has all of it (test/vm):
//
//     test/vm/run.sh 6.1 build/release/bin/bench_ipvs [SERVICES...]        default: 1000 10000
//
// For each number of Services with two endpoints each, in network namespaces of their own, in this process:
//   cold     all of it into a kernel that has nothing
//   change   one endpoint replaced: from the event in hand to the kernel's answer
// for the modes ipvs and nftables, and beside them ipvsadm: the same virtual servers given to `ipvsadm -R` in one text
// (without sets, addresses and rules, which it does not know), and the two lines of one change. The figures that count
// are the ratios: the guest's clock goes as its machine lets it.
#include <charconv>
#include <filesystem>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "agent/ipvs_settings.h"
#include "agent/modes.h"
#include "bench/figures.h"
#include "bench/world.h"
#include "plan/planner.h"
#include "source/manifests/manifest_set.h"
#include "support/namespace.h"

namespace ghostip::bench {
namespace {

constexpr int kChanges = 15;
constexpr int kEndpoints = 2;

struct Figures {
    double cold = 0;    // milliseconds
    double change = 0;  // median
};

// `saved`: what ipvsadm saves of it, where somebody wants that.
Figures measure_mode(const char* name, const char* variant, const std::filesystem::path& manifest, std::string* saved) {
    const auto where = must(testnet::Namespace::create());
    const auto inside = where.enter();
    const auto& mode = *agent::find_mode(name);
    plan::NodeSettings settings;
    settings.node_name = "node-0";
    settings.cluster_cidrs = {*net::Prefix::parse_lenient(kPods)};
    plan::Planner planner(net::Family::kIpv4, settings, mode.profile(), {});
    auto set = must(source::ManifestSet::open(manifest));
    auto delivery = set.load();
    static_cast<void>(planner.apply(delivery.changes));
    std::vector<api::Change> slices;
    for (auto& change : delivery.changes)
        if (change.key.kind == api::Kind::kEndpointSlice) slices.push_back(std::move(change));
    dataplane::Options options;
    options.variant = variant;
    if (mode.profile().schedules) must(agent::apply_ipvs_settings(options.ipvs));
    const auto dataplane = must(mode.open(net::Family::kIpv4, options));

    Figures figures;
    const auto plan = planner.plan();
    auto begin = Clock::now();
    static_cast<void>(must(dataplane->reconcile(plan)));
    figures.cold = milliseconds_since(begin);
    if (saved != nullptr) *saved = must(where.must_run({"ipvsadm", "-Sn"}));
    std::mt19937 random(1);
    std::vector<double> times;
    for (int i = 0; i < kChanges; ++i) {
        auto& slice = slices[random() % slices.size()];
        slice = replace_endpoint(slice, i, random);
        begin = Clock::now();
        static_cast<void>(must(dataplane->apply(planner.apply({slice}))));
        times.push_back(milliseconds_since(begin));
    }
    figures.change = median(times);
    return figures;
}

// Each time another endpoint of the first virtual server gives way to a new one.
Figures measure_ipvsadm(const std::string& saved) {
    const auto where = must(testnet::Namespace::create());
    Figures figures;
    auto begin = Clock::now();
    static_cast<void>(must(where.must_run({"ipvsadm", "-R"}, saved)));
    figures.cold = milliseconds_since(begin);
    std::istringstream lines(saved);
    std::string line;
    while (std::getline(lines, line) && !line.starts_with("-a ")) continue;
    std::istringstream words(line);  // -a -t 10.96.0.0:80 -r 172.16.0.1:8080 -m -w 1
    std::string server;
    std::string gone;
    std::string word;
    words >> word >> word >> server >> word >> gone;
    std::vector<double> times;
    for (int i = 0; i < kChanges; ++i) {
        const auto fresh = fmt::format("10.255.{}.1:{}", i, kEndpointPort);
        const auto change = fmt::format("-a -t {0} -r {1} -m -w 1\n-d -t {0} -r {2}\n", server, fresh, gone);
        begin = Clock::now();
        static_cast<void>(must(where.must_run({"ipvsadm", "-R"}, change)));
        times.push_back(milliseconds_since(begin));
        gone = fresh;
    }
    figures.change = median(times);
    return figures;
}

enum class Told : std::uint8_t { kYes, kNo };

void measure(int services, Told told) {
    const Size size{services, kEndpoints};
    const auto manifest = std::filesystem::temp_directory_path() / fmt::format("ghostip-bench-{}.json", services);
    write_manifest(manifest, size);
    std::string saved;
    const auto ipvs = measure_mode("ipvs", "nft", manifest, &saved);
    const auto nftables = measure_mode("nftables", "", manifest, nullptr);
    const auto bare = measure_ipvsadm(saved);
    std::filesystem::remove(manifest);
    if (told == Told::kNo) return;
    for (const auto& [what, own, limit, other] : {std::tuple{"cold", ipvs.cold, bare.cold, nftables.cold},
                                                  std::tuple{"change", ipvs.change, bare.change, nftables.change}})
        fmt::print("{} | {} | {:.2f} | {:.2f} | {:.2f} | {:.2f} | {:.2f}\n", size.text(), what, own, limit, other,
                   own / limit, own / other);
    std::fflush(stdout);
}

}  // namespace
}  // namespace ghostip::bench

int main(int argc, char** argv) {
    std::vector<int> sizes;
    for (int i = 1; i < argc; ++i) {
        const std::string_view text = argv[i];
        int number = 0;
        const auto* end = text.data() + text.size();
        if (std::from_chars(text.data(), end, number).ptr != end || number < 1) {
            fmt::print(stderr, "bench_ipvs [SERVICES...]: \"{}\" is no number of Services\n", text);
            return 2;
        }
        sizes.push_back(number);
    }
    if (sizes.empty()) sizes = {1000, 10000};
    fmt::print(
        "services x endpoints | what | ipvs ms | ipvsadm -R ms | nftables ms | ipvs / ipvsadm | ipvs / nftables\n"
        "---|---|---|---|---|---|---\n");
    ghostip::bench::measure(10, ghostip::bench::Told::kNo);  // the kernel loads what it has as modules
    for (const int size : sizes) ghostip::bench::measure(size, ghostip::bench::Told::kYes);
    return 0;
}

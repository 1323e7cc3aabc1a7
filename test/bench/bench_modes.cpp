// Which mode costs what, all of them in one run: bench_modes BINARY [--quick] [--results FILE]
//
// For each size and each mode (and variant), in network namespaces of its own:
//   start    `ghostip proxy` on a JSON manifest, from the process's start until all is in the kernel, and its memory
//   change   one endpoint replaced: from the event in hand to the kernel's answer, in this process
//   own      of these calls, the share of the wall time in which no program of iptables ran; of nftables, no
//   transaction
//            of the kernel. What this process does while a program runs (it makes the text that the program reads) is
//            not in it: where that held the program up, the bare restore beside it would be faster.
//   connect  connect and close through the first and the last Service that were programmed, and to an endpoint itself
// and beside the iptables variants their limit: the same rules given to bare iptables-restore in one text, and one
// Service's chains. No figure is a failure.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "agent/modes.h"
#include "bench/dial.h"
#include "bench/figures.h"
#include "bench/measured_proxy.h"
#include "bench/timed_dataplane.h"
#include "bench/world.h"
#include "kernel/nfacct/linux.h"
#include "plan/planner.h"
#include "source/manifests/manifest_set.h"

namespace ghostip::bench {
namespace {

constexpr int kChanges = 15;
constexpr int kRestores = 5;
constexpr int kDialRounds = 1500;
constexpr int kLimitSeconds = 120;  // of bare iptables-restore
constexpr int kTimedOut = 124;      // what timeout(1) says

struct ModeName {
    std::string mode;
    std::string variant;  // empty: none

    [[nodiscard]] std::string text() const { return variant.empty() ? mode : mode + "-" + variant; }
    [[nodiscard]] std::vector<std::string> flags() const {
        std::vector<std::string> flags{"--proxy-mode", mode};
        if (!variant.empty()) flags.insert(flags.end(), {"--iptables-variant", variant});
        return flags;
    }
};

// Plain, so that a child process can hand it back.
struct CallFigures {
    double first = 0;       // all of it into the kernel, milliseconds
    double first_own = 0;   // of that, outside of programs and transactions, milliseconds
    double change_p50 = 0;  // milliseconds
    double change_own = 0;  // of that, likewise, median
};
struct Limit {
    std::optional<double> all;  // milliseconds; absent: not within the limit
    double change = 0;
};
struct Row {
    Size size;
    ModeName mode;
    ProxyFigures start;
    CallFigures calls;
    std::optional<Limit> limit;
    std::vector<DialTarget> dialled;  // first Service, last Service, an endpoint
};

// Planner and dataplane, without the process around them.
CallFigures measure_calls(const ModeName& name, const std::filesystem::path& manifest) {
    const auto where = must(testnet::Namespace::create());
    const auto inside = where.enter();
    const auto& mode = *agent::find_mode(name.mode);
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
    auto dataplane = must(TimedDataplane::open(mode, net::Family::kIpv4, {.variant = name.variant}));

    CallFigures figures;
    const auto first = must(dataplane.reconcile(planner.plan()));
    figures.first = first.wall;
    figures.first_own = first.own;
    std::mt19937 random(1);
    std::vector<double> wall;
    std::vector<double> own;
    for (int i = 0; i < kChanges; ++i) {
        auto& slice = slices[random() % slices.size()];
        slice = replace_endpoint(slice, i, random);
        const auto begin = Clock::now();
        const auto delta = planner.apply({slice});
        const double planned = milliseconds_since(begin);
        const auto call = must(dataplane.apply(delta));
        wall.push_back(planned + call.wall);
        own.push_back(planned + call.own);
    }
    figures.change_p50 = median(std::move(wall));
    figures.change_own = median(std::move(own));
    return figures;
}

// In a process of its own: memory that the last measurement used is not found again.
CallFigures measure_calls_apart(const ModeName& name, const std::filesystem::path& manifest) {
    std::array<int, 2> pipe{};
    if (::pipe(pipe.data()) < 0) must(Result<void>(fail_errno("pipe")));
    const pid_t child = ::fork();
    if (child == 0) {
        const auto figures = measure_calls(name, manifest);
        ::_exit(::write(pipe[1], &figures, sizeof figures) == static_cast<ssize_t>(sizeof figures) ? 0 : 1);
    }
    ::close(pipe[1]);
    CallFigures figures;
    const bool complete = ::read(pipe[0], &figures, sizeof figures) == static_cast<ssize_t>(sizeof figures);
    ::close(pipe[0]);
    ::waitpid(child, nullptr, 0);
    if (!complete) must(Result<void>(fail("the measurement of {} failed", name.text())));
    return figures;
}

// The chains of the Service that `rules` (a text for iptables-restore) has first: what one changed endpoint needs.
std::string one_service(const std::string& rules) {
    std::istringstream lines(rules);
    std::string service;
    std::vector<std::string> own;
    std::string heads;
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with("-A KUBE-S") || line.starts_with("-A KUBE-SERVICES")) continue;
        const auto chain = line.substr(3, line.find(' ', 3) - 3);
        if (service.empty() && chain.starts_with("KUBE-SVC-")) service = chain;
        if (chain != service) continue;
        own.push_back(line);
        if (own.size() == 1) heads = ":" + chain + " - [0:0]\n";
    }
    std::string text = "*nat\n" + heads;
    for (const auto& line : own) text += line + "\n";
    return text + "COMMIT\n";
}

// Rules that name a counter are refused while there is none.
void make_counters(const testnet::Namespace& where, const std::string& rules) {
    static constexpr std::string_view kOption = "--nfacct-name";
    const auto inside = where.enter();
    const auto counters = must(kernel::nfacct::LinuxNfacct::open());
    for (auto at = rules.find(kOption); at != std::string::npos; at = rules.find(kOption, at)) {
        at = rules.find_first_not_of(' ', at + kOption.size());
        must(counters->create(rules.substr(at, rules.find_first_of(" \n", at) - at)));
    }
}

// What iptables-restore itself needs.
Limit measure_limit(const std::string& binary, const ModeName& name, const std::filesystem::path& manifest) {
    const auto where = must(testnet::Namespace::create());
    const std::string program = "iptables-" + name.variant + "-restore";
    auto render = std::vector<std::string>{binary,           "render", "--manifests",         manifest,
                                           "--cluster-cidr", kPods,    "--hostname-override", "node-0"};
    const auto flags = name.flags();
    render.insert(render.end(), flags.begin(), flags.end());
    const auto rendered = must(where.must_run(render));
    // Only IPv4's part: it comes first.
    const auto rules = rendered.substr(0, rendered.find("# IPv6"));
    make_counters(where, rules);
    Limit limit;
    auto begin = Clock::now();
    const auto output =
        must(where.run({"timeout", std::to_string(kLimitSeconds), program, "-w", "5", "--noflush"}, rules));
    if (output.status == 0)
        limit.all = milliseconds_since(begin);
    else if (output.status != kTimedOut)
        must(Result<void>(fail("{}: {}", program, output.err)));
    if (!limit.all) static_cast<void>(must(measure_proxy(where, {binary, manifest, flags})));
    const auto change = one_service(rules);
    std::vector<double> times;
    for (int i = 0; i < kRestores; ++i) {
        begin = Clock::now();
        static_cast<void>(must(where.must_run({program, "-w", "5", "--noflush"}, change)));
        times.push_back(milliseconds_since(begin));
    }
    limit.change = median(times);
    return limit;
}

Row measure(const std::string& binary, const std::filesystem::path& manifest, Size size, const ModeName& mode,
            int rounds) {
    fmt::print(stderr, "measuring {}, {} ...\n", size.text(), mode.text());
    Row row{size, mode, {}, {}, std::nullopt, {}};
    const DialNet net;
    row.start = must(measure_proxy(net.node(), {binary, manifest, mode.flags()}));
    row.calls = measure_calls_apart(mode, manifest);
    if (!mode.variant.empty()) row.limit = measure_limit(binary, mode, manifest);
    row.dialled = {{"first", size.endpoints, socket_address(cluster_ip(0), kServicePort)},
                   {"last", size.endpoints, socket_address(cluster_ip(size.services - 1), kServicePort)},
                   {"endpoint", size.endpoints, socket_address(endpoint_ip(0), kEndpointPort)}};
    net.dial_all(row.dialled, rounds);
    return row;
}

void print(const std::vector<Row>& rows) {
    fmt::print(
        "services x endpoints | mode | start s | resident / peak MiB | all, ms (own %) | bare restore, ms | one "
        "endpoint, "
        "ms (own %) | bare restore, ms | ratio\n---|---|---|---|---|---|---|---|---\n");
    for (const auto& row : rows) {
        const auto& c = row.calls;
        fmt::print("{} | {} | {:.2f} | {:.0f} / {:.0f} | {:.0f} ({:.1f}) | {} | {:.2f} ({:.1f}) | {} | {}\n",
                   row.size.text(), row.mode.text(), row.start.seconds, row.start.resident_mib, row.start.peak_mib,
                   c.first, 100 * c.first_own / c.first,
                   !row.limit       ? "-"
                   : row.limit->all ? fmt::format("{:.0f}", *row.limit->all)
                                    : "> 120,000",
                   c.change_p50, 100 * c.change_own / c.change_p50,
                   row.limit ? fmt::format("{:.2f}", row.limit->change) : "-",
                   row.limit ? fmt::format("{:.2f}", c.change_p50 / row.limit->change) : "-");
    }
    fmt::print(
        "\nConnect and close, us, median (p99)\n\n"
        "services x endpoints | mode | endpoint itself | first Service | last Service | slower / faster\n"
        "---|---|---|---|---|---\n");
    for (const auto& row : rows) {
        std::array<double, 3> medians{};
        std::array<std::string, 3> texts;
        for (std::size_t i = 0; i < 3; ++i) {
            medians[i] = median(row.dialled[i].microseconds);
            texts[i] = fmt::format("{:.1f} ({:.0f})", medians[i], percentile(row.dialled[i].microseconds, 0.99));
        }
        fmt::print("{} | {} | {} | {} | {} | {:.2f}\n", row.size.text(), row.mode.text(), texts[2], texts[0], texts[1],
                   std::max(medians[0], medians[1]) / std::min(medians[0], medians[1]));
    }
}

void write_results(const std::string& path, const std::vector<Row>& rows) {
    std::ofstream out(path);
    out << "mode,services,start_seconds,change_milliseconds,slowest_connect_microseconds\n";
    for (const auto& row : rows)
        out << fmt::format("{},{},{:.6g},{:.6g},{:.6g}\n", row.mode.text(), row.size.services, row.start.seconds,
                           row.calls.change_p50,
                           std::max(median(row.dialled[0].microseconds), median(row.dialled[1].microseconds)));
}

int run(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.empty()) {
        fmt::print(stderr, "usage: bench_modes BINARY [--quick] [--results FILE]\n");
        return 2;
    }
    const bool quick = std::find(arguments.begin(), arguments.end(), "--quick") != arguments.end();
    const auto results = std::find(arguments.begin(), arguments.end(), "--results");
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("ghostip-bench-{}", ::getpid());
    std::filesystem::create_directory(folder);
    const auto manifest = folder / "manifest.json";
    std::vector<ModeName> modes;
    for (const auto& mode : agent::modes()) {
        if (mode.variants.empty()) modes.push_back({std::string(mode.name), ""});
        for (const auto variant : mode.variants) modes.push_back({std::string(mode.name), std::string(variant)});
    }
    std::vector<Size> sizes{{1000, 10}, {10000, 5}, {30000, 2}};
    if (quick) sizes = {{100, 5}, {1000, 2}};
    std::vector<Row> rows;
    for (const Size size : sizes) {
        write_manifest(manifest, size);
        for (const auto& mode : modes)
            rows.push_back(measure(arguments.front(), manifest, size, mode, quick ? 200 : kDialRounds));
    }
    print(rows);
    if (results != arguments.end() && results + 1 != arguments.end()) write_results(*(results + 1), rows);
    std::filesystem::remove_all(folder);
    return 0;
}

}  // namespace
}  // namespace ghostip::bench

int main(int argc, char** argv) { return ghostip::bench::run(argc, argv); }

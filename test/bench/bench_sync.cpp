// What a node pays for its Services: bench_sync BINARY [--quick] [--results FILE]
//
// For each size, in network namespaces of its own (nothing of the machine's is touched):
//   start    `ghostip proxy` on a JSON manifest: process start to all in the kernel, processor time, memory of the
//            process and of the kernel, transactions, and the longest of them (timed in process, and as another writer
//            in the same namespace feels it)
//   restart  the same again with nothing changed, and whether anything was written
//   changes  one endpoint, 1,000 endpoints together, 1,000 Services more
//   peer     the same Services in kube-proxy's layout through `nft -f`, where that ends (see peer.h)
// and, without a kernel, what planning one change costs at 100 and at 100,000 services. Of starts, restarts and peers
// each figure is the best of several, with the median beside it; FILE gets the best for plot.py. No figure is a
// failure; a restart that writes is one.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "bench/figures.h"
#include "bench/in_process.h"
#include "bench/measured_proxy.h"
#include "bench/peer.h"
#include "bench/witness.h"
#include "bench/world.h"
#include "kernel/nft/generation.h"

namespace ghostip::bench {
namespace {

constexpr int kRuns = 3;
constexpr int kMore = 1000;  // services added

struct Row {
    Size size;
    std::vector<ProxyFigures> starts;
    std::vector<ProxyFigures> restarts;
    std::uint32_t generations = 0;  // by which nf_tables' generation grew in all restarts
    std::vector<double> waits;      // of the witness during a start, milliseconds
    std::vector<double> waits_alone;
    ChangeFigures changes;
    std::optional<PeerFigures> peer;
};

const ProxyFigures& best(const std::vector<ProxyFigures>& runs) {
    return *std::min_element(runs.begin(), runs.end(),
                             [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
}
double median_seconds(const std::vector<ProxyFigures>& runs) {
    std::vector<double> seconds;
    seconds.reserve(runs.size());
    for (const auto& run : runs) seconds.push_back(run.seconds);
    return median(seconds);
}

void measure_starts(const ProxyCommand& command, Row& row) {
    for (int i = 0; i < kRuns; ++i) {
        const auto where = must(testnet::Namespace::create());
        auto start = command;
        start.measure_kernel = true;
        row.starts.push_back(must(measure_proxy(where, start)));
        const auto inside = where.enter();
        const auto generation = must(kernel::nft::Generation::open());
        const auto before = must(generation.read());
        row.restarts.push_back(must(measure_proxy(where, command)));
        row.generations += must(generation.read()) - before;
    }
    wait_until_settled();
    const auto where = must(testnet::Namespace::create());
    auto witness = must(Witness::start(where));
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    row.waits_alone = witness->take();
    static_cast<void>(must(measure_proxy(where, command)));
    row.waits = witness->take();
}

Row measure(const std::string& binary, const std::filesystem::path& folder, Size size) {
    fmt::print(stderr, "measuring {} ...\n", size.text());
    Row row;
    row.size = size;
    const auto manifest = folder / "manifest.json";
    const auto more = folder / "more.json";
    write_manifest(manifest, size);
    write_manifest(more, {kMore, size.endpoints}, size.services);
    measure_starts({binary, manifest}, row);
    row.changes = measure_changes(manifest, more, With::kKernel);
    if (peer_can(size)) row.peer = measure_peer(folder, size);
    return row;
}

void print_starts(const std::vector<Row>& rows) {
    fmt::print(
        "Start from nothing (best of {}; median in brackets)\n\n"
        "services x endpoints | s | CPU s | peak MiB | resident MiB | kernel MiB | elements | transactions | longest "
        "ms | another writer's longest wait ms (alone)\n---|---|---|---|---|---|---|---|---|---\n",
        kRuns);
    for (const auto& row : rows) {
        const auto& figures = best(row.starts);
        std::vector<double> kernel;
        for (const auto& run : row.starts) kernel.push_back(run.kernel_mib);
        fmt::print("{} | {:.2f} ({:.2f}) | {:.2f} | {:.0f} | {:.0f} | {:.0f} | {} | {} | {:.1f} | {:.1f} ({:.1f})\n",
                   row.size.text(), figures.seconds, median_seconds(row.starts), figures.cpu_seconds, figures.peak_mib,
                   figures.resident_mib, median(kernel), with_commas(static_cast<long>(figures.written)),
                   figures.transactions, row.changes.longest_transaction, percentile(row.waits, 1),
                   percentile(row.waits_alone, 1));
    }
}

void print_restarts(const std::vector<Row>& rows) {
    fmt::print(
        "\nRestart with nothing changed (best of {}; median in brackets)\n\n"
        "services x endpoints | s | CPU s | peak MiB | transactions | kernel's generation grew by\n"
        "---|---|---|---|---|---\n",
        kRuns);
    for (const auto& row : rows) {
        const auto& figures = best(row.restarts);
        std::uint64_t transactions = 0;
        for (const auto& run : row.restarts) transactions += run.transactions;
        fmt::print("{} | {:.2f} ({:.2f}) | {:.2f} | {:.0f} | {} | {}\n", row.size.text(), figures.seconds,
                   median_seconds(row.restarts), figures.cpu_seconds, figures.peak_mib, transactions, row.generations);
    }
}

void print_changes(const std::vector<Row>& rows) {
    fmt::print(
        "\nChanges, in milliseconds from the events in hand to the kernel's answer\n\n"
        "services x endpoints | one endpoint p50 | p99 | 1,000 endpoints | transactions | 1,000 Services more | "
        "transactions | longest transaction | of a start: decode | plan | program\n"
        "---|---|---|---|---|---|---|---|---|---|---\n");
    for (const auto& row : rows) {
        const auto& c = row.changes;
        fmt::print("{} | {:.3f} | {:.3f} | {:.1f} | {} | {:.1f} | {} | {:.1f} | {:.0f} | {:.0f} | {:.0f}\n",
                   row.size.text(), c.change_p50, c.change_p99, c.burst, c.burst_transactions, c.added,
                   c.added_transactions, c.longest_later, c.decode, c.plan, c.program);
    }
}

void print_peers(const std::vector<Row>& rows) {
    fmt::print(
        "\nkube-proxy's layout through nft -f\n\n"
        "services x endpoints | everything s | / ours | one endpoint ms | / ours\n---|---|---|---|---\n");
    for (const auto& row : rows) {
        if (row.peer)
            fmt::print("{} | {:.2f} | {:.1f} | {:.1f} | {:.0f}\n", row.size.text(), row.peer->seconds,
                       row.peer->seconds / best(row.starts).seconds, row.peer->change_milliseconds,
                       row.peer->change_milliseconds / row.changes.change_p50);
        else
            fmt::print("{} | {} | - | - | -\n", row.size.text(),
                       peer_can(row.size) ? fmt::format("> {}", kPeerLimitSeconds) : "not tried");
    }
}

void target(const std::string& what, double measured, double wanted, const char* unit) {
    fmt::print("{} | {:.3g} {} | {:g} {} | {}\n", what, measured, unit, wanted, unit,
               measured <= wanted ? "reached" : "missed");
}

void print_targets(const std::vector<Row>& rows) {
    fmt::print("\ntarget | measured | wanted | \n---|---|---|---\n");
    double p50 = 0;
    double p99 = 0;
    for (const auto& row : rows) {
        p50 = std::max(p50, row.changes.change_p50);
        p99 = std::max(p99, row.changes.change_p99);
        if (row.size.services == 50000) {
            target("50,000 x 2, start", best(row.starts).seconds, 2.5, "s");
            target("50,000 x 2, restart with nothing changed", best(row.restarts).seconds, 2, "s");
            target("50,000 x 2, writes of all such restarts", row.generations, 0, "");
            target("50,000 x 2, longest transaction", row.changes.longest_transaction, 50, "ms");
            target("50,000 x 2, another writer's longest wait", percentile(row.waits, 1), 50, "ms");
        }
        if (row.size.services == 100000) {
            target("100,000 x 10, start", best(row.starts).seconds, 15, "s");
            target("100,000 x 10, peak memory", best(row.starts).peak_mib, 400, "MiB");
        }
    }
    target("one endpoint, p50, largest of all sizes", p50, 0.2, "ms");
    target("one endpoint, p99, largest of all sizes", p99, 2, "ms");
}

void write_results(const std::string& path, const std::vector<Row>& rows) {
    std::ofstream out(path);
    out << "series,services,endpoints,seconds\n";
    for (const auto& row : rows) {
        const auto line = [&](const char* series, double seconds) {
            out << fmt::format("{},{},{},{:.6g}\n", series, row.size.services, row.size.endpoints, seconds);
        };
        line("start", best(row.starts).seconds);
        line("restart", best(row.restarts).seconds);
        line("change", row.changes.change_p50 / 1000);
        if (!row.peer) continue;
        line("peer-start", row.peer->seconds);
        line("peer-change", row.peer->change_milliseconds / 1000);
    }
}

void measure_planning(const std::filesystem::path& folder, bool quick) {
    fmt::print("\nPlanning alone, one endpoint replaced\n\n");
    double small = 0;
    for (const int services : {100, quick ? 1000 : 100000}) {
        const auto manifest = folder / "manifest.json";
        write_manifest(manifest, {services, 5});
        const auto figures = measure_changes(manifest, {}, With::kPlannerAlone);
        if (small == 0) small = figures.change_plan_p50;
        fmt::print("{} services: p50 {:.4f} ms, p99 {:.4f} ms, ratio to 100 services {:.1f}\n", with_commas(services),
                   figures.change_plan_p50, figures.change_p99, figures.change_plan_p50 / small);
    }
}

int run(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    if (arguments.empty()) {
        fmt::print(stderr, "usage: bench_sync BINARY [--quick] [--results FILE]\n");
        return 2;
    }
    const bool quick = std::find(arguments.begin(), arguments.end(), "--quick") != arguments.end();
    const auto results = std::find(arguments.begin(), arguments.end(), "--results");
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("ghostip-bench-{}", ::getpid());
    std::filesystem::create_directory(folder);

    std::vector<Size> sizes{{1000, 10}, {10000, 5}, {5000, 50}, {50000, 2}, {100000, 10}};
    if (quick) sizes = {{100, 5}, {1000, 2}};
    std::vector<Row> rows;
    rows.reserve(sizes.size());
    for (const Size size : sizes) rows.push_back(measure(arguments.front(), folder, size));
    print_starts(rows);
    print_restarts(rows);
    print_changes(rows);
    print_peers(rows);
    print_targets(rows);
    if (results != arguments.end() && results + 1 != arguments.end()) write_results(*(results + 1), rows);
    measure_planning(folder, quick);
    std::filesystem::remove_all(folder);
    const bool wrote = std::any_of(rows.begin(), rows.end(), [](const auto& row) { return row.generations != 0; });
    if (wrote) fmt::print(stderr, "a restart with nothing changed wrote to the kernel\n");
    return wrote ? 1 : 0;
}

}  // namespace
}  // namespace ghostip::bench

int main(int argc, char** argv) { return ghostip::bench::run(argc, argv); }

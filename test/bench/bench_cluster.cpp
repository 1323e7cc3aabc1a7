// What following an API server costs: bench_cluster BINARY [--quick | --soak [SECONDS]]
//
// For each size, in a network namespace of its own, against an API server in this process (test/kubernetes):
//   start      process start to all rules in place, processor time and memory
//   change     one endpoint replaced at the server: from there until the kernel tells that it is committed
//   stream     1,000 such changes at 100 a second: processor time of the agent, and the same delay under it
// and in the same run, as the limit: what the committing alone costs is in bench_sync's "one endpoint".
// --soak: 10,000 x 5 under 100 changes a second for two minutes, memory and delay every ten seconds.
// kube-proxy's figures for the same work stand in docs/benchmarks.md. No figure is a failure.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "bench/figures.h"
#include "bench/followed_cluster.h"
#include "bench/measured_proxy.h"
#include "kernel/nft/watch.h"
#include "kubernetes/api_server.h"

namespace ghostip::bench {
namespace {

using testkubernetes::ApiServer;

constexpr int kChanges = 500;
constexpr std::chrono::milliseconds kPause{15};
constexpr int kStream = 1000;
constexpr std::chrono::microseconds kStreamPause{10'000};
constexpr int kASecond = 100;
constexpr int kSoakSeconds = 120;

struct Row {
    Size size;
    ProxyFigures start;
    double resident_mib = 0;
    double peak_mib = 0;
    std::vector<double> alone;   // milliseconds
    std::vector<double> stream;  // milliseconds
    double stream_cpu_seconds = 0;
};

// When the kernel told of a commit to our table; the proxy's writes are somebody else's here.
class Commits {
  public:
    Commits() : watch_(must(kernel::nft::LinuxWatch::open("ghostip"))) {}
    // Waits for the next one; false: none came in time.
    bool wait() {
        const auto begin = Clock::now();
        while (milliseconds_since(begin) < 5000) {
            if (!must(watch_->wait(-1, std::chrono::milliseconds(100))).empty()) return true;
        }
        return false;
    }

  private:
    std::unique_ptr<kernel::nft::LinuxWatch> watch_;
};

// Changes at an even pace; the delay of each until the kernel has it.
template <typename EachSecond>
std::vector<double> stream_changes(FollowedCluster& cluster, Commits& commits, int count,
                                   const EachSecond& each_second) {
    std::vector<double> delays;
    const auto begin = Clock::now();
    for (int i = 0; i < count; ++i) {
        std::this_thread::sleep_until(begin + i * kStreamPause);
        const auto put_at = Clock::now();
        static_cast<void>(cluster.change());
        if (commits.wait()) delays.push_back(milliseconds_since(put_at));
        if ((i + 1) % kASecond == 0) each_second((i + 1) / kASecond, delays);
    }
    return delays;
}

void soak(const std::string& binary, int seconds) {
    const auto where = must(testnet::Namespace::create());
    const auto inside = where.enter();
    const auto server = must(ApiServer::open());
    FollowedCluster cluster(*server, {10'000, 5});
    static_cast<void>(server->encode_all());
    const auto proxy = must(follow(where, binary, *server));
    static_cast<void>(must(proxy->wait_in_sync()));
    Commits commits;
    fmt::print("s | resident MiB | CPU s | delay p50 / p99 ms\n---|---|---|---\n");
    static_cast<void>(stream_changes(cluster, commits, seconds * kASecond, [&](int second, auto& delays) {
        if (second % 10 != 0) return;
        fmt::print("{} | {:.1f} | {:.2f} | {:.2f} / {:.2f}\n", second, proxy->resident_mib(), proxy->cpu_seconds(),
                   median(delays), percentile(delays, 0.99));
        std::fflush(stdout);
        delays.clear();
    }));
}

Row measure(const std::string& binary, Size size) {
    fmt::print(stderr, "measuring {} ...\n", size.text());
    Row row;
    row.size = size;
    const auto where = must(testnet::Namespace::create());
    const auto inside = where.enter();
    const auto server = must(ApiServer::open());
    FollowedCluster cluster(*server, size);
    static_cast<void>(server->encode_all());  // the server's work is not what is measured
    const auto proxy = must(follow(where, binary, *server));
    row.start = must(proxy->wait_in_sync());
    std::this_thread::sleep_for(std::chrono::milliseconds(1000));
    row.resident_mib = proxy->resident_mib();
    row.peak_mib = proxy->peak_mib();
    Commits commits;
    for (int i = 0; i < kChanges; ++i) {
        // Back to back it would be a hundred a second, by the limit on commits (--max-commits-per-second).
        std::this_thread::sleep_for(kPause);
        const auto begin = Clock::now();
        static_cast<void>(cluster.change());
        if (commits.wait()) row.alone.push_back(milliseconds_since(begin));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    const auto cpu = proxy->cpu_seconds();
    row.stream = stream_changes(cluster, commits, kStream, [](int, const auto&) {});
    row.stream_cpu_seconds = proxy->cpu_seconds() - cpu;
    return row;
}

int run(int argc, char** argv) {
    const std::string binary = argv[1];
    if (argc > 2 && std::string(argv[2]) == "--soak") {
        soak(binary, argc > 3 ? std::atoi(argv[3]) : kSoakSeconds);
        return 0;
    }
    const bool quick = argc > 2 && std::string(argv[2]) == "--quick";
    std::vector<Size> sizes{{1000, 10}};
    if (!quick) sizes.insert(sizes.end(), {{10'000, 5}, {30'000, 2}});
    fmt::print(
        "services x endpoints | start s | CPU s | resident MiB | peak MiB | one endpoint p50 / p99 ms | "
        "100 a second p50 / p99 ms | CPU s for 1,000\n---|---|---|---|---|---|---|---\n");
    for (const auto size : sizes) {
        const auto row = measure(binary, size);
        fmt::print("{} | {:.2f} | {:.2f} | {:.0f} | {:.0f} | {:.2f} / {:.2f} | {:.2f} / {:.2f} | {:.2f}\n",
                   row.size.text(), row.start.seconds, row.start.cpu_seconds, row.resident_mib, row.peak_mib,
                   median(row.alone), percentile(row.alone, 0.99), median(row.stream), percentile(row.stream, 0.99),
                   row.stream_cpu_seconds);
        std::fflush(stdout);
    }
    return 0;
}

}  // namespace
}  // namespace ghostip::bench

int main(int argc, char** argv) {
    if (argc < 2) {
        fmt::print(stderr, "usage: bench_cluster BINARY [--quick | --soak [SECONDS]]\n");
        return 2;
    }
    return ghostip::bench::run(argc, argv);
}

// What a node pays for its Services: bench_sync BINARY [--quick]
//
// For each size, in network namespaces of its own (nothing of the machine's is touched):
//   cold     `ghostip proxy --once` on a JSON manifest: process start to everything programmed, and peak memory
//   resident memory of the running proxy after its first sync
//   change   one endpoint replaced: from the event in hand to the commit's answer, p50 and p99 of 1,000
//   peer     the same Services in kube-proxy's layout (a chain a service, an anonymous map each) through `nft -f`,
//   where
//            that ends within two minutes
// and, without a kernel, what planning one change costs at 100 and at 100,000 services.
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "dataplane/nftables/dataplane.h"
#include "plan/planner.h"
#include "source/manifests/manifest_set.h"

namespace {

using namespace ghostip;
using Clock = std::chrono::steady_clock;

constexpr int kChanges = 1000;
constexpr int kPeerLimitSeconds = 120;

struct Size {
    int services;
    int endpoints;
};

double milliseconds_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::string cluster_ip(int service) {
    return fmt::format("10.{}.{}.{}", 96 + service / 65536, service / 256 % 256, service % 256);
}
std::string endpoint_ip(int n) { return fmt::format("172.{}.{}.{}", 16 + n / 65536, n / 256 % 256, n % 256); }

void write_manifest(const std::filesystem::path& path, Size size) {
    std::ofstream out(path);
    out << R"({"apiVersion":"v1","kind":"List","items":[)";
    for (int s = 0; s < size.services; ++s) {
        const auto ip = cluster_ip(s);
        out << (s == 0 ? "\n" : ",\n")
            << fmt::format(
                   R"({{"apiVersion":"v1","kind":"Service","metadata":{{"name":"svc-{}","namespace":"bench"}},"spec":{{"type":"ClusterIP","clusterIP":"{}","clusterIPs":["{}"],"ipFamilies":["IPv4"],"ports":[{{"name":"http","port":80,"protocol":"TCP","targetPort":8080}}]}}}},)",
                   s, ip, ip)
            << "\n"
            << fmt::format(
                   R"({{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"svc-{}-1","namespace":"bench","labels":{{"kubernetes.io/service-name":"svc-{}"}}}},"addressType":"IPv4","ports":[{{"name":"http","port":8080,"protocol":"TCP"}}],"endpoints":[)",
                   s, s);
        for (int e = 0; e < size.endpoints; ++e)
            out << (e == 0 ? "" : ",")
                << fmt::format(R"({{"addresses":["{}"],"conditions":{{"ready":true}},"nodeName":"node-{}"}})",
                               endpoint_ip(s * size.endpoints + e), (s + e) % 100);
        out << "]}";
    }
    out << "\n]}\n";
}

// kube-proxy's structure: every service a chain whose one rule has its endpoints in a map of its own.
void write_peer_ruleset(const std::filesystem::path& path, Size size) {
    std::ofstream out(path);
    out << "table ip peer {\n map services { type ipv4_addr . inet_proto . inet_service : verdict; }\n"
        << " chain dispatch { ip daddr . meta l4proto . th dport vmap @services; }\n"
        << " chain prerouting { type nat hook prerouting priority -100; jump dispatch; }\n";
    for (int s = 0; s < size.services; ++s) {
        out << fmt::format(" chain service-{} {{ meta l4proto tcp dnat ip addr . port to numgen random mod {} map {{ ",
                           s, size.endpoints);
        for (int e = 0; e < size.endpoints; ++e)
            out << (e == 0 ? "" : ", ") << fmt::format("{} : {} . 8080", e, endpoint_ip(s * size.endpoints + e));
        out << " }; }\n";
    }
    out << "}\n";
    for (int s = 0; s < size.services; ++s)
        out << fmt::format("add element ip peer services {{ {} . tcp . 80 : goto service-{} }}\n", cluster_ip(s), s);
}

void enter_new_network() {
    if (::unshare(CLONE_NEWNET) < 0) {
        std::perror("a network namespace of its own (needs root)");
        ::_exit(1);
    }
    const int control = ::socket(AF_INET, SOCK_DGRAM, 0);
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    ::ioctl(control, SIOCSIFFLAGS, &request);
    ::close(control);
}

struct Finished {
    double seconds = 0;
    long peak_kib = 0;
    bool ok = false;
};

pid_t start(const std::vector<std::string>& command) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    enter_new_network();
    const int null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, STDERR_FILENO);
    std::vector<char*> arguments;
    for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
}

// Runs a program in a network namespace of its own. One that takes longer than the limit is killed and not ok.
Finished run(const std::vector<std::string>& command, int limit_seconds) {
    const auto begin = Clock::now();
    const pid_t child = start(command);
    Finished result;
    int status = 0;
    rusage usage{};
    while (::wait4(child, &status, WNOHANG, &usage) == 0) {
        if (milliseconds_since(begin) > limit_seconds * 1000.0) ::kill(child, SIGKILL);
        ::usleep(200);
    }
    result.seconds = milliseconds_since(begin) / 1000;
    result.peak_kib = usage.ru_maxrss;
    result.ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return result;
}

long status_kib(pid_t process, const std::string& field) {
    std::ifstream file(fmt::format("/proc/{}/status", process));
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(field + ":")) return std::stol(line.substr(field.size() + 1));
    return 0;
}

bool has_table(pid_t process) {
    const std::string command =
        fmt::format("nsenter -t {} -n nft list tables 2>/dev/null | grep -q 'ip6 ghostip'", process);
    return std::system(command.c_str()) == 0;
}

// Memory of a proxy that has synced and waits, KiB.
long resident(const std::string& binary, const std::string& manifest) {
    const pid_t child = start({binary, "proxy", "--manifests", manifest, "--hostname-override", "node-0",
                               "--cluster-cidr", "172.16.0.0/12", "--healthz-bind-address", ""});
    for (int i = 0; i < 300 && !has_table(child); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const long kib = status_kib(child, "VmRSS");
    ::kill(child, SIGTERM);
    ::waitpid(child, nullptr, 0);
    return kib;
}

double percentile(std::vector<double>& values, double fraction) {
    std::sort(values.begin(), values.end());
    return values[std::min(values.size() - 1, static_cast<std::size_t>(fraction * static_cast<double>(values.size())))];
}

plan::NodeSettings settings() {
    plan::NodeSettings node;
    node.node_name = "node-0";
    node.cluster_cidrs = {*net::Prefix::parse_lenient("172.16.0.0/12")};
    return node;
}

// A slice with one endpoint replaced by an address that nobody else has.
api::Change replace_endpoint(const api::Change& change, int round, std::mt19937& random) {
    auto slice = *std::get<std::shared_ptr<const api::EndpointSlice>>(*change.object);
    auto& endpoint = slice.endpoints[random() % slice.endpoints.size()];
    endpoint.address = *net::IpAddress::parse(fmt::format("172.31.{}.{}", round / 256 % 256, round % 256));
    return {change.key, std::make_shared<const api::EndpointSlice>(std::move(slice))};
}

struct ChangeTimes {
    double p50 = 0;
    double p99 = 0;
    double plan_p50 = 0;
    double load = 0;  // decode the manifest
    double plan = 0;  // plan everything
    double commit = 0;
};

// In a child, since it changes its network namespace; the figures come back through a pipe.
ChangeTimes changes(const std::string& manifest, bool with_kernel) {
    std::array<int, 2> pipe{};
    if (::pipe(pipe.data()) < 0) return {};
    const pid_t child = ::fork();
    if (child == 0) {
        ChangeTimes times;
        enter_new_network();
        auto begin = Clock::now();
        auto set = source::ManifestSet::open(manifest);
        auto delivery = set->load();
        times.load = milliseconds_since(begin);
        begin = Clock::now();
        plan::Planner planner(net::Family::kIpv4, settings(), plan::nftables_profile(), {});
        const auto first = planner.apply(delivery.changes);
        times.plan = milliseconds_since(begin);
        std::unique_ptr<dataplane::Dataplane> dataplane;
        if (with_kernel) {
            dataplane = std::move(*dataplane::nftables::mode().open(net::Family::kIpv4));
            begin = Clock::now();
            const auto done = dataplane->replace(planner.plan());
            times.commit = milliseconds_since(begin);
            if (!done) {
                std::fprintf(stderr, "%s\n", done.error().message.c_str());
                ::_exit(1);
            }
        }
        std::vector<api::Change*> slices;
        for (auto& change : delivery.changes)
            if (change.key.kind == api::Kind::kEndpointSlice) slices.push_back(&change);
        std::mt19937 random(1);
        std::vector<double> total;
        std::vector<double> planning;
        for (int round = 0; round < kChanges; ++round) {
            auto& slice = *slices[random() % slices.size()];
            slice = replace_endpoint(slice, round, random);
            begin = Clock::now();
            const auto delta = planner.apply({slice});
            planning.push_back(milliseconds_since(begin));
            if (dataplane) {
                const auto done = dataplane->apply(delta);
                if (!done) {
                    std::fprintf(stderr, "%s\n", done.error().message.c_str());
                    ::_exit(1);
                }
            }
            total.push_back(milliseconds_since(begin));
        }
        times.p50 = percentile(total, 0.5);
        times.p99 = percentile(total, 0.99);
        times.plan_p50 = percentile(planning, 0.5);
        (void)!::write(pipe[1], &times, sizeof times);
        ::_exit(0);
    }
    ::close(pipe[1]);
    ChangeTimes times;
    const bool ok = ::read(pipe[0], &times, sizeof times) == static_cast<ssize_t>(sizeof times);
    ::close(pipe[0]);
    ::waitpid(child, nullptr, 0);
    if (!ok) {
        std::fprintf(stderr, "the measurement of changes failed\n");
        std::exit(1);
    }
    return times;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: bench_sync BINARY [--quick]\n");
        return 2;
    }
    const std::string binary = argv[1];
    const bool quick = argc > 2 && std::string(argv[2]) == "--quick";
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("ghostip-bench-{}", ::getpid());
    std::filesystem::create_directory(folder);
    const auto manifest = (folder / "manifest.json").string();
    const auto ruleset = (folder / "peer.nft").string();

    fmt::print(
        "services x endpoints | cold s | peak MiB | resident MiB | change p50 ms | p99 ms | decode ms | plan ms | "
        "program ms | peer s | peer / ours\n");
    fmt::print("---|---|---|---|---|---|---|---|---|---|---\n");
    std::vector<Size> sizes{{1000, 10}, {10000, 5}, {50000, 2}};
    if (quick) sizes = {{100, 5}};
    for (const Size size : sizes) {
        write_manifest(manifest, size);
        write_peer_ruleset(ruleset, size);
        const std::vector<std::string> once{
            binary,   "proxy",          "--manifests",   manifest, "--hostname-override",
            "node-0", "--cluster-cidr", "172.16.0.0/12", "--once"};
        (void)run(once, 600);  // the first touch of kernel memory can be slow
        std::vector<double> cold;
        Finished last;
        for (int i = 0; i < 3; ++i) {
            last = run(once, 600);
            if (!last.ok) {
                std::fprintf(stderr, "ghostip proxy --once failed at %d x %d\n", size.services, size.endpoints);
                return 1;
            }
            cold.push_back(last.seconds);
        }
        const double seconds = percentile(cold, 0.5);
        const auto times = changes(manifest, true);
        const long resident_kib = resident(binary, manifest);
        const bool peer_can = size.services <= 10000;
        const auto peer = peer_can ? run({"nft", "-f", ruleset}, kPeerLimitSeconds) : Finished{};
        fmt::print("{} x {} | {:.2f} | {:.0f} | {:.0f} | {:.3f} | {:.3f} | {:.0f} | {:.0f} | {:.0f} | {} | {}\n",
                   size.services, size.endpoints, seconds, static_cast<double>(last.peak_kib) / 1024,
                   static_cast<double>(resident_kib) / 1024, times.p50, times.p99, times.load, times.plan, times.commit,
                   peer.ok    ? fmt::format("{:.2f}", peer.seconds)
                   : peer_can ? fmt::format("> {}", kPeerLimitSeconds)
                              : "not tried",
                   peer.ok ? fmt::format("{:.0f}", peer.seconds / seconds) : "-");
        std::fflush(stdout);
    }

    fmt::print("\nplanning alone, one endpoint replaced:\n");
    double small = 0;
    for (const int services : {100, quick ? 1000 : 100000}) {
        write_manifest(manifest, {services, 5});
        const auto times = changes(manifest, false);
        if (small == 0) small = times.plan_p50;
        fmt::print("{} services: p50 {:.4f} ms, p99 {:.4f} ms, ratio to 100 services {:.1f}\n", services,
                   times.plan_p50, times.p99, times.plan_p50 / small);
        std::fflush(stdout);
    }
    std::filesystem::remove_all(folder);
    return 0;
}

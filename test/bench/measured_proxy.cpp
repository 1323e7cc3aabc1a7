#include "bench/measured_proxy.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "base/fd.h"
#include "bench/figures.h"
#include "bench/world.h"

namespace ghostip::bench {
namespace {

constexpr std::chrono::minutes kPatience{3};
constexpr double kKibPerMib = 1024;

// `Slab:  174796 kB`, in files of /proc.
long field_kib(const std::string& path, std::string_view field) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(field)) return std::strtol(line.c_str() + field.size(), nullptr, 10);
    return 0;
}

// `IPv4: 50000 service ports in the kernel; 300000 elements written, 0 removed in 74 transactions, 812.3 ms`
bool read_sync_line(const std::string& line, ProxyFigures& figures) {
    const auto at = line.find("in the kernel; ");
    if (at == std::string::npos) return false;
    unsigned long written = 0;
    unsigned long removed = 0;
    unsigned long transactions = 0;
    if (std::sscanf(line.c_str() + at, "in the kernel; %lu elements written, %lu removed in %lu transactions", &written,
                    &removed, &transactions) != 3)
        return false;
    figures.written += written;
    figures.removed += removed;
    figures.transactions += transactions;
    return true;
}

// Reads the log until both families are in the kernel, or this host has only one.
Result<void> wait_in_sync(int log, ProxyFigures& figures) {
    const auto begin = Clock::now();
    std::string text;
    int families = 0;
    while (Clock::now() - begin < kPatience) {
        pollfd ready{log, POLLIN, 0};
        if (::poll(&ready, 1, 100) <= 0) continue;
        std::array<char, 4096> buffer;
        const auto got = ::read(log, buffer.data(), buffer.size());
        if (got <= 0) return fail("ghostip proxy ended: {}", text);
        text.append(buffer.data(), static_cast<std::size_t>(got));
        for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
            const auto line = text.substr(0, end);
            text.erase(0, end + 1);
            if (read_sync_line(line, figures) || line.find("switched off") != std::string::npos) ++families;
        }
        if (families == 2) return {};
    }
    return fail("ghostip proxy was not in sync in time: {}", text);
}

}  // namespace

long kernel_memory_kib() {
    long sum = 0;
    for (const auto* field : {"Slab:", "VmallocUsed:", "Percpu:"}) sum += field_kib("/proc/meminfo", field);
    return sum;
}

void wait_until_settled() {
    constexpr long kNoise = 512;  // KiB
    long before = kernel_memory_kib();
    for (int calm = 0, i = 0; calm < 3 && i < 100; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        const long now = kernel_memory_kib();
        calm = std::labs(now - before) < kNoise ? calm + 1 : 0;
        before = now;
    }
}

RunningProxy::RunningProxy(int process, Fd log) : process_(process), log_(std::move(log)) {}

RunningProxy::~RunningProxy() {
    ::kill(process_, SIGTERM);
    const auto begin = Clock::now();
    while (::waitpid(process_, nullptr, WNOHANG) == 0) {
        if (milliseconds_since(begin) > 30000) ::kill(process_, SIGKILL);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

Result<std::unique_ptr<RunningProxy>> RunningProxy::start(const testnet::Namespace& where, const std::string& binary,
                                                          const std::vector<std::string>& flags) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("pipe");
    Fd read_end(ends[0]);
    const Fd write_end(ends[1]);
    std::vector<std::string> argv{binary, "proxy", "--hostname-override", "node-0", "--cluster-cidr", kPods};
    argv.insert(argv.end(), flags.begin(), flags.end());
    ASSIGN_OR_RETURN(const int process, where.start(argv, write_end.get()));
    return std::unique_ptr<RunningProxy>(new RunningProxy(process, std::move(read_end)));
}

Result<ProxyFigures> RunningProxy::wait_in_sync() {
    ProxyFigures figures;
    RETURN_IF_ERROR(bench::wait_in_sync(log_.get(), figures));
    figures.seconds = milliseconds_since(begin_) / 1000;
    figures.cpu_seconds = cpu_seconds();
    figures.peak_mib = peak_mib();
    return figures;
}

std::string RunningProxy::read_log() {
    std::string text;
    std::array<char, 4096> buffer;
    pollfd ready{log_.get(), POLLIN, 0};
    while (::poll(&ready, 1, 0) == 1) {
        const auto got = ::read(log_.get(), buffer.data(), buffer.size());
        if (got <= 0) break;
        text.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return text;
}

double RunningProxy::cpu_seconds() const {
    clockid_t clock = 0;
    timespec time{};
    if (::clock_getcpuclockid(process_, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double RunningProxy::resident_mib() const {
    return static_cast<double>(field_kib(fmt::format("/proc/{}/status", process_), "VmRSS:")) / kKibPerMib;
}
double RunningProxy::peak_mib() const {
    return static_cast<double>(field_kib(fmt::format("/proc/{}/status", process_), "VmHWM:")) / kKibPerMib;
}

Result<ProxyFigures> measure_proxy(const testnet::Namespace& where, const ProxyCommand& command) {
    if (command.measure_kernel) wait_until_settled();
    const long kernel_before = kernel_memory_kib();
    std::vector<std::string> flags{
        "--manifests", command.manifest, "--healthz-bind-address", "", "--metrics-bind-address", ""};
    flags.insert(flags.end(), command.flags.begin(), command.flags.end());
    ASSIGN_OR_RETURN(const auto proxy, RunningProxy::start(where, command.binary, flags));
    ASSIGN_OR_RETURN(auto figures, proxy->wait_in_sync());
    // What it does right after the start (it looks at its neighbours) is done by then.
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    if (command.measure_kernel) wait_until_settled();
    figures.resident_mib = proxy->resident_mib();
    figures.kernel_mib = static_cast<double>(kernel_memory_kib() - kernel_before) / kKibPerMib;
    return figures;
}

}  // namespace ghostip::bench

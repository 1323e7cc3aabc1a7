#include "agent/process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "base/fd.h"

namespace ghostip::agent {
namespace {

double seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

double page_size() { return static_cast<double>(::sysconf(_SC_PAGESIZE)); }

// Field `number` of /proc/self/stat, counted as proc(5) does; from 3 on, since the name in 2 may hold anything.
double stat_field(int number) {
    std::ifstream file("/proc/self/stat");
    std::string line;
    std::getline(file, line);
    const auto name_end = line.rfind(')');
    if (name_end == std::string::npos) return 0;
    std::istringstream fields(line.substr(name_end + 1));
    std::string field;
    for (int i = 3; i <= number; ++i)
        if (!(fields >> field)) return 0;
    std::istringstream value(field);
    double result = 0;
    return value >> result ? result : 0;
}

double entries_in(const char* folder) {
    std::error_code error;
    double count = 0;
    for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) ++count;
    return count;
}

double limit(int resource) {
    rlimit value{};
    if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &value) != 0) return 0;
    return value.rlim_cur == RLIM_INFINITY ? -1 : static_cast<double>(value.rlim_cur);
}

double boot_time_seconds() {
    std::ifstream file("/proc/stat");
    std::string line;
    while (std::getline(file, line)) {
        std::istringstream words(line);
        std::string name;
        double value = 0;
        if (words >> name >> value && name == "btime") return value;
    }
    return 0;
}

}  // namespace

double resident_memory_bytes() {
    constexpr int kResidentPages = 24;
    return stat_field(kResidentPages) * page_size();
}

double cpu_seconds() {
    rusage usage{};
    if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double open_descriptors() { return entries_in("/proc/self/fd") - 1; }  // less the one that lists them

double thread_count() {
    constexpr int kThreads = 20;
    return stat_field(kThreads);
}

double start_time_seconds() {
    constexpr int kStartTicks = 22;
    return boot_time_seconds() + stat_field(kStartTicks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

void register_process_metrics(MetricsRegistry& registry) {
    constexpr int kVirtualBytes = 23;
    using Kind = MetricsRegistry::Kind;
    registry.observed(Kind::kGauge, "process_resident_memory_bytes", "Resident memory size in bytes.",
                      resident_memory_bytes);
    registry.observed(Kind::kCounter, "process_cpu_seconds_total", "User and system CPU time spent in seconds.",
                      cpu_seconds);
    registry.observed(Kind::kGauge, "process_open_fds", "File descriptors that are open.", open_descriptors);
    registry.observed(Kind::kGauge, "process_max_fds", "File descriptors that may be open.",
                      [] { return limit(RLIMIT_NOFILE); });
    registry.observed(Kind::kGauge, "process_start_time_seconds", "When the process started, in seconds since 1970.",
                      [start = start_time_seconds()] { return start; });
    registry.observed(Kind::kGauge, "process_virtual_memory_bytes", "Size of the address space in bytes.",
                      [] { return stat_field(kVirtualBytes); });
    registry.observed(Kind::kGauge, "process_virtual_memory_max_bytes",
                      "Largest size of the address space in bytes; -1: no limit.", [] { return limit(RLIMIT_AS); });
    registry.observed(Kind::kGauge, "go_goroutines",
                      "Threads of this process, under the name that dashboards of kube-proxy read. No Go is in it.",
                      thread_count);
    registry.observed(Kind::kGauge, "go_threads", "Threads of this process, under the name of Go's runtime.",
                      thread_count);
}

Result<void> set_oom_score_adjustment(int adjustment, const std::string& path) {
    if (adjustment < -1000 || adjustment > 1000) return fail("oomScoreAdj: {}: not from -1000 to 1000", adjustment);
    const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    const std::string text = std::to_string(adjustment);
    if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        return fail_errno("oomScoreAdj: write {} to {}", adjustment, path);
    return {};
}

}  // namespace ghostip::agent

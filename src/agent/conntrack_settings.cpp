#include "agent/conntrack_settings.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <thread>

#include "base/log.h"
#include "kernel/sysctl/linux.h"

namespace ghostip::agent {
namespace {

const std::string kFolder = "/proc/sys/net/netfilter/";
const std::string kMax = kFolder + "nf_conntrack_max";
const std::string kHashSize = "/sys/module/nf_conntrack/parameters/hashsize";
constexpr std::int64_t kLargestByProcessors = 1048576;
constexpr std::int64_t kEntriesPerBucket = 4;

std::vector<SysctlWrite> wanted(const ConntrackSettings& settings, unsigned processors) {
    std::vector<SysctlWrite> writes;
    if (const auto max = conntrack_max(settings, processors); max > 0) {
        writes.push_back({kMax, max});
        writes.push_back({kHashSize, max / kEntriesPerBucket});
    }
    const auto timeout = [&](const char* name, std::chrono::nanoseconds value) {
        if (value.count() <= 0) return;
        // Less than a second would be 0, which forgets every flow at once.
        const auto seconds = std::max(std::chrono::duration_cast<std::chrono::seconds>(value), std::chrono::seconds(1));
        writes.push_back({kFolder + name, seconds.count()});
    };
    timeout("nf_conntrack_tcp_timeout_established", settings.tcp_established_timeout);
    timeout("nf_conntrack_tcp_timeout_close_wait", settings.tcp_close_wait_timeout);
    if (settings.tcp_be_liberal) writes.push_back({kFolder + "nf_conntrack_tcp_be_liberal", 1});
    timeout("nf_conntrack_udp_timeout", settings.udp_timeout);
    timeout("nf_conntrack_udp_timeout_stream", settings.udp_stream_timeout);
    return writes;
}

// The kernel makes the table's buckets no fewer by itself, and more of them do no harm.
bool satisfied(const SysctlWrite& write, std::int64_t current) {
    return write.path == kHashSize ? current >= write.value : current == write.value;
}

}  // namespace

std::int64_t conntrack_max(const ConntrackSettings& settings, unsigned processors) {
    if (settings.max_per_core <= 0) return 0;
    const std::int64_t cap_per_core = kLargestByProcessors / std::max(processors, 1U);
    if (settings.max_per_core > cap_per_core) return kLargestByProcessors;
    return std::max(settings.max_per_core * processors, settings.min);
}

std::vector<SysctlWrite> conntrack_writes(const ConntrackSettings& settings,
                                          const std::map<std::string, std::int64_t>& current, unsigned processors) {
    auto writes = wanted(settings, processors);
    std::erase_if(writes, [&](const auto& write) {
        const auto known = current.find(write.path);
        return known != current.end() && satisfied(write, known->second);
    });
    return writes;
}

std::vector<Error> apply_conntrack_settings(const ConntrackSettings& settings, kernel::sysctl::Sysctl& sysctl,
                                            unsigned processors) {
    std::vector<Error> refused;
    std::map<std::string, std::int64_t> current;
    for (const auto& write : wanted(settings, processors)) {
        const auto value = sysctl.read(write.path);
        if (value) current[write.path] = *value;  // what cannot be read is told when it cannot be written
    }
    for (const auto& write : conntrack_writes(settings, current, processors)) {
        auto result = sysctl.write(write.path, write.value);
        if (!result) refused.push_back(std::move(result).error());
    }
    return refused;
}

void apply_conntrack_settings(const ConntrackSettings& settings) {
    std::ifstream file("/sys/devices/system/cpu/online");
    std::string list;
    std::getline(file, list);
    const unsigned known = count_processors(list);
    kernel::sysctl::LinuxSysctl sysctl;
    for (const auto& error :
         apply_conntrack_settings(settings, sysctl, known != 0 ? known : std::thread::hardware_concurrency()))
        log::warning("{}; the kernel's value stays, which the host's administrator may have to set", error.message);
}

unsigned count_processors(std::string_view list) {
    unsigned count = 0;
    const auto* at = list.data();
    const auto* const end = list.data() + list.size();
    while (at != end) {
        unsigned first = 0;
        auto read = std::from_chars(at, end, first);
        if (read.ec != std::errc()) return 0;
        unsigned last = first;
        if (read.ptr != end && *read.ptr == '-') {
            read = std::from_chars(read.ptr + 1, end, last);
            if (read.ec != std::errc() || last < first) return 0;
        }
        if (last - first >= 1U << 20U) return 0;
        count += last - first + 1;
        at = read.ptr;
        if (at == end) break;
        if (*at != ',') return 0;
        if (++at == end) return 0;
    }
    return count;
}

}  // namespace ghostip::agent

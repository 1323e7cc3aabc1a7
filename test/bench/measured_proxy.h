// `ghostip proxy` as a process that is measured from outside, in a given network namespace.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "support/namespace.h"

namespace ghostip::bench {

struct ProxyFigures {
    double seconds = 0;      // from the process's start until it says that all families are in the kernel
    double cpu_seconds = 0;  // of it, user and system, until then
    double peak_mib = 0;     // until then
    double resident_mib = 0;
    double kernel_mib = 0;           // by how much the kernel's memory grew; see kernel_memory_kib()
    std::uint64_t transactions = 0;  // as the proxy counts them, of all families
    std::uint64_t written = 0;
    std::uint64_t removed = 0;
};

struct ProxyCommand {
    std::string binary;
    std::string manifest;
    std::vector<std::string> flags = {};  // besides
    bool measure_kernel = false;          // waits before and after until the kernel's memory has settled
};

// A proxy that runs, until this object goes. The rules stay.
class RunningProxy {
  public:
    // `flags` behind `BINARY proxy` and what all measurements share.
    [[nodiscard]] static Result<std::unique_ptr<RunningProxy>> start(const testnet::Namespace& where,
                                                                     const std::string& binary,
                                                                     const std::vector<std::string>& flags);
    ~RunningProxy();
    RunningProxy(const RunningProxy&) = delete;
    RunningProxy& operator=(const RunningProxy&) = delete;

    // Until all families are in the kernel; the figures of the start, but for the kernel's memory.
    [[nodiscard]] Result<ProxyFigures> wait_in_sync();
    // What it has said since; does not wait. Somebody has to listen, or it waits for that some day.
    [[nodiscard]] std::string read_log();
    [[nodiscard]] double cpu_seconds() const;
    [[nodiscard]] double resident_mib() const;
    [[nodiscard]] double peak_mib() const;

  private:
    RunningProxy(int process, Fd log);

    const int process_;
    const Fd log_;
    const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// Starts it, waits until it is in sync, looks at it and ends it; the rules stay.
[[nodiscard]] Result<ProxyFigures> measure_proxy(const testnet::Namespace& where, const ProxyCommand& command);

// Slab, vmalloc and per-CPU memory of the whole machine (/proc/meminfo): where nf_tables keeps elements and the buckets
// of its hash tables. What others on the machine do meanwhile is in a difference of two, too.
[[nodiscard]] long kernel_memory_kib();
// Waits until that does not change any more, at most 20 s: namespaces that are gone are taken apart later.
void wait_until_settled();

}  // namespace ghostip::bench

#include "agent/leftovers.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <utility>

#include "base/log.h"

namespace ghostip::agent {
namespace {

constexpr std::chrono::seconds kIpvsLook{10};
constexpr std::chrono::minutes kIpvsPatience{15};

constexpr char kGo = '\n';  // behind the variant

// In the helper. The variant that serves, when the agent says go; nothing: it has ended.
std::optional<std::string> wait_for_go(int fd) {
    std::string variant;
    while (true) {
        char byte = 0;
        const ssize_t got = ::read(fd, &byte, 1);
        if (got < 0 && errno == EINTR) continue;
        if (got != 1) return std::nullopt;
        if (byte == kGo) return variant;
        variant += byte;
    }
}

void remove_leftovers(TraceScope scope) {
    const auto host = linux_trace_host();
    const auto deadline = std::chrono::steady_clock::now() + kIpvsPatience;
    for (bool first = true;; first = false) {
        const bool last = std::chrono::steady_clock::now() >= deadline;
        scope.ipvs = last ? Ipvs::kNow : Ipvs::kIdle;
        auto removed = remove_traces(*host, scope);
        if (!first && !last) {  // said before
            removed.kept.clear();
            removed.failed.clear();
        }
        log_removed(removed);
        if (removed.ipvs_connections == 0) return;
        if (first)
            log::info(
                "IPVS carries {} connections of kube-proxy's; its virtual servers stay until these end, at most {} min",
                removed.ipvs_connections, kIpvsPatience.count());
        host->pause(kIpvsLook);
    }
}

}  // namespace

void log_removed(const Removed& removed) {
    for (const auto& what : removed.removed) log::info("left by another mode and removed: {}", what);
    for (const auto& what : removed.kept) log::info("left by another mode: {}", what);
    for (const auto& error : removed.failed) log::warning("left by another mode: {}", error.message);
}

Result<std::unique_ptr<Leftovers>> Leftovers::prepare(Whose whose, std::string_view mode) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_errno("make a pipe");
    Fd reader(ends[0]);
    Fd writer(ends[1]);
    const pid_t helper = ::fork();
    if (helper < 0) return fail_errno("split off a process that cleans up after other modes");
    if (helper == 0) {
        writer.reset();
        // Each step is done entirely or not at all, and the next start goes on where this one ended.
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (auto variant = wait_for_go(reader.get()))
            remove_leftovers({whose, std::string(mode), std::move(*variant), Ipvs::kIdle});
        ::_exit(0);  // nothing of the agent's is this process's to end
    }
    return std::unique_ptr<Leftovers>(new Leftovers(helper, std::move(writer)));
}

Leftovers::Leftovers(pid_t helper, Fd go) : helper_(helper), go_(std::move(go)) {}

void Leftovers::remove(std::string_view variant) {
    if (reaper_.joinable()) return;
    const auto go = std::string(variant) + kGo;
    (void)!::write(go_.get(), go.data(), go.size());
    reaper_ = std::thread([pid = helper_] {
        while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) continue;
    });
}

// A helper that was never told to go ends at once; one that is at work is not waited for.
Leftovers::~Leftovers() {
    go_.reset();
    if (reaper_.joinable()) {
        reaper_.detach();
        return;
    }
    while (::waitpid(helper_, nullptr, 0) < 0 && errno == EINTR) continue;
}

}  // namespace ghostip::agent

#include "dataplane/iptables/canary.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "dataplane/iptables/dataplane.h"
#include "dataplane/iptables/names.h"
#include "kernel/iptables/linux.h"

namespace ghostip::dataplane::iptables {
namespace {

// True: the time is over. False: `stop_fd` is readable.
Result<bool> pass(std::chrono::milliseconds time, int stop_fd) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (true) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        pollfd stop{stop_fd, POLLIN, 0};
        const int ready = ::poll(&stop, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
        if (ready < 0 && errno != EINTR) return fail_errno("poll");
        if (ready > 0) return false;
        if (ready == 0) return true;
    }
}

}  // namespace

Result<std::vector<ForeignWrite>> CanaryWatch::wait(int stop_fd) {
    while (true) {
        ASSIGN_OR_RETURN(const bool over, pass(times_.interval, stop_fd));
        if (!over) return std::vector<ForeignWrite>{};
        std::vector<ForeignWrite> writes;
        for (auto& one : watched_) {
            const std::uint64_t made = *one.made;
            if (made == one.told || look(one, tables::kMangle) != Canary::kGone) continue;
            ASSIGN_OR_RETURN(const bool waited, wait_for_the_others(one, stop_fd));
            if (!waited) return std::vector<ForeignWrite>{};
            one.told = made;
            ForeignWrite write;
            write.family = one.iptables->family();
            write.what = "chain KUBE-PROXY-CANARY is gone: the tables of iptables were emptied";
            writes.push_back(std::move(write));
        }
        if (!writes.empty()) return writes;
    }
}

// That it cannot be told (the lock is held, the program fails) counts as that it is there: nothing is known to be
// wrong.
CanaryWatch::Canary CanaryWatch::look(Watched& watched, const char* table) {
    const std::lock_guard guard(mutex_);
    if (paused_) return Canary::kUnknown;
    const auto there = watched.iptables->has_chain(table, chains::kCanary);
    if (!there) return Canary::kUnknown;
    return *there ? Canary::kThere : Canary::kGone;
}

Result<bool> CanaryWatch::wait_for_the_others(Watched& watched, int stop_fd) {
    const auto deadline = std::chrono::steady_clock::now() + times_.longest_flush;
    while (look(watched, tables::kNat) != Canary::kGone || look(watched, tables::kFilter) != Canary::kGone) {
        if (std::chrono::steady_clock::now() >= deadline) break;
        ASSIGN_OR_RETURN(const bool over, pass(times_.flush_poll, stop_fd));
        if (!over) return false;
    }
    return true;
}

Result<void> CanaryWatch::pause() {
    const std::lock_guard guard(mutex_);
    paused_ = true;
    return {};
}

Result<bool> CanaryWatch::resume(std::uint32_t /*own_transactions*/) {
    const std::lock_guard guard(mutex_);
    paused_ = false;
    return true;
}

Result<std::unique_ptr<DriftWatch>> watch_canaries(std::span<Dataplane* const> instances) {
    std::vector<CanaryWatch::Watched> watched;
    for (auto* instance : instances) {
        const auto* own = dynamic_cast<const IptablesDataplane*>(instance);
        if (own == nullptr) continue;
        ASSIGN_OR_RETURN(auto iptables, kernel::iptables::LinuxIptables::open(own->kernel_variant(), own->family()));
        watched.push_back({std::move(iptables), own->canaries(), 0});
    }
    return std::unique_ptr<DriftWatch>(std::make_unique<CanaryWatch>(std::move(watched)));
}

}  // namespace ghostip::dataplane::iptables

#include "cli/stop_signals.h"

#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <utility>

#include "base/log.h"
#include "cli/exit_code.h"

namespace ghostip::cli {
namespace {

// A first sync of tens of thousands of Services takes longer, and so may a page that somebody reads.
constexpr std::chrono::milliseconds kPatience{700};

}  // namespace

StopSignals::StopSignals() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

StopSignals::~StopSignals() {
    if (!thread_.joinable()) return;
    ended_ = true;
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
}

void StopSignals::watch(std::function<void()> stop, std::chrono::milliseconds later) {
    thread_ = std::thread([this, stop = std::move(stop), later] { loop(stop, later); });
}

void StopSignals::loop(const std::function<void()>& stop, std::chrono::milliseconds later) const {
    int signal = 0;
    while (signal == 0 || signal == SIGUSR1) {  // which others may send as well
        sigwait(&signals_, &signal);
        if (ended_) return;  // it was not a signal that ended the agent
    }
    stop();
    log::info("signal {}: ending; the rules stay", signal);
    const auto patience = kPatience + later;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience);
    const timespec most{seconds.count(), std::chrono::nanoseconds(patience - seconds).count()};
    int next = 0;
    do {
        next = sigtimedwait(&signals_, nullptr, &most);
        if (ended_) return;
    } while ((next < 0 && errno == EINTR) || next == SIGUSR1);
    // Transactions are taken by the kernel entirely or not at all, so there is no bad moment for this. No line is
    // logged: that may be what hangs.
    ::_exit(kOk);
}

}  // namespace ghostip::cli

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
constexpr timespec kPatience{0, 700'000'000};

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

void StopSignals::watch(std::function<void()> stop) {
    thread_ = std::thread([this, stop = std::move(stop)] { loop(stop); });
}

void StopSignals::loop(const std::function<void()>& stop) const {
    int signal = 0;
    while (signal == 0 || signal == SIGUSR1) {  // which others may send as well
        sigwait(&signals_, &signal);
        if (ended_) return;  // it was not a signal that ended the agent
    }
    stop();
    log::info("signal {}: ending; the rules stay", signal);
    int next = 0;
    do {
        next = sigtimedwait(&signals_, nullptr, &kPatience);
        if (ended_) return;
    } while ((next < 0 && errno == EINTR) || next == SIGUSR1);
    // Transactions are taken by the kernel entirely or not at all, so there is no bad moment for this. No line is
    // logged: that may be what hangs.
    ::_exit(kOk);
}

}  // namespace ghostip::cli

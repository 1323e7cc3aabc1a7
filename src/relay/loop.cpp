#include "relay/loop.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <future>
#include <string>

namespace ghostip::relay {
namespace {

constexpr std::size_t kEventsAtOnce = 256;

// Signals belong to the program's own threads; and a splice to a client that left would raise SIGPIPE.
class WithoutSignals {
  public:
    WithoutSignals() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    WithoutSignals(const WithoutSignals&) = delete;
    WithoutSignals& operator=(const WithoutSignals&) = delete;

  private:
    sigset_t before_{};
};

}  // namespace

Result<void> Loop::start(unsigned number) {
    epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
    wake_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;
    if (!epoll_ || !wake_ || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) < 0)
        return fail_errno("start thread {} of the relay", number);
    now_ = Clock::now();
    try {
        const WithoutSignals inherited;
        thread_ = std::thread([this] { run(); });
    } catch (const std::system_error& error) {
        return errno_error(error.code().value(), fmt::format("start thread {} of the relay", number));
    }
    ::pthread_setname_np(thread_.native_handle(), fmt::format("relay/{}", number).substr(0, 15).c_str());
    return {};
}

void Loop::stop(const std::function<void()>& last_words) {
    if (!thread_.joinable()) return;
    post([this, &last_words] {
        if (last_words) last_words();
        stopping_ = true;
    });
    thread_.join();
}

void Loop::wake() const {
    const std::uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
}

void Loop::post(std::function<void()> task) {
    {
        const std::lock_guard lock(mutex_);
        posted_.push_back(std::move(task));
    }
    wake();
}

void Loop::call(const std::function<void()>& task) {
    std::promise<void> done;
    post([&] {
        task();
        done.set_value();
    });
    done.get_future().wait();
}

bool Loop::watch(int fd, std::uint32_t events, EventSink& sink) const {
    epoll_event event{};
    event.events = events;
    event.data.ptr = &sink;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Loop::ignore(int fd) const { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Loop::run() {
    std::array<epoll_event, kEventsAtOnce> events{};
    while (!stopping_) {
        const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout());
        now_ = Clock::now();
        bool posted = false;
        for (int i = 0; i < count; ++i) {
            const auto& event = events[static_cast<std::size_t>(i)];
            if (event.data.ptr == nullptr)
                posted = true;
            else
                static_cast<EventSink*>(event.data.ptr)->on_events(event.events);
        }
        run_turns();
        run_deadlines();
        clear_graveyard();
        if (posted) run_posted();
        clear_graveyard();
    }
}

void Loop::run_posted() {
    std::uint64_t word = 0;
    (void)!::read(wake_.get(), &word, sizeof word);
    std::vector<std::function<void()>> tasks;
    {
        const std::lock_guard lock(mutex_);
        tasks.swap(posted_);
    }
    for (const auto& task : tasks) task();
}

void Loop::run_deadlines() {
    for (auto* line : lines_) line->run(now_);
    while (!tasks_.empty() && tasks_.begin()->first <= now_) {
        const auto task = tasks_.extract(tasks_.begin());
        task.mapped()();
    }
}

// Who takes another turn meanwhile waits for the next round.
void Loop::run_turns() {
    IntrusiveList<TakesTurns, InTurn> round;
    while (auto* who = turns_.pop_front()) round.push_back(*who);
    while (auto* who = round.pop_front()) who->on_turn();
}

void Loop::clear_graveyard() {
    while (auto* who = graveyard_.pop_front()) delete who;
}

int Loop::timeout() const {
    if (!turns_.empty()) return 0;
    TimePoint next = tasks_.empty() ? TimePoint::max() : tasks_.begin()->first;
    for (const auto* line : lines_) next = std::min(next, line->next());
    if (next == TimePoint::max()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now_).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000));
}

}  // namespace ghostip::relay

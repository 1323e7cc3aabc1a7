#include "source/kubernetes/kubernetes_source.h"

#include <algorithm>
#include <random>
#include <utility>

namespace ghostip::source::kubernetes {
namespace {

// Its copies draw from one sequence: with one each, all reflectors would wait equally long after a common trouble.
std::function<double()> random_source() {
    return [engine = std::make_shared<std::mt19937_64>(std::random_device{}())] {
        return std::uniform_real_distribution<double>(0, 1)(*engine);
    };
}

}  // namespace

KubernetesSource::KubernetesSource(KubernetesSourceOptions options, std::unique_ptr<Transport> transport, OnLog on_log,
                                   OnHeld on_held)
    : options_(std::move(options)),
      transport_(std::move(transport)),
      on_log_(std::move(on_log)),
      on_held_(std::move(on_held)),
      random_(options_.seams.random ? options_.seams.random : random_source()),
      poster_(options_.reporter, {.now = options_.seams.now, .random = random_}, *transport_,
              [this](log::Level level, const std::string& text) { on_log_(level, text); }) {}

Result<void> KubernetesSource::start(api::ChangeQueue& queue) {
    queue_ = &queue;
    const std::array resources{own_node(options_.node_name), services(), endpoint_slices(), service_cidrs()};
    ReflectorListener& listener = *this;
    for (std::size_t i = 0; i < reflectors_.size(); ++i)
        reflectors_.at(i) = std::make_unique<Reflector>(resources.at(i), options_.reflector,
                                                        Seams{options_.seams.now, random_}, *transport_, listener);
    thread_ = std::thread(&KubernetesSource::run, this);
    return {};
}

void KubernetesSource::stop() {
    if (!thread_.joinable()) return;
    stopping_ = true;
    transport_->wake();
    thread_.join();
}

void KubernetesSource::run() {
    for (auto& reflector : reflectors_) reflector->start();
    while (!stopping_) {
        for (auto& reflector : reflectors_) reflector->tick();
        poster_.tick();
        publish_stats();
        transport_->run_for(until_due());
    }
    publish_stats();
    // Their requests are the transport's, and hence this thread's.
    for (auto& reflector : reflectors_) reflector.reset();
}

std::chrono::milliseconds KubernetesSource::until_due() const {
    using namespace std::chrono_literals;
    auto due = poster_.due();
    for (const auto& reflector : reflectors_) due = std::min(due, reflector->due());
    const auto now = options_.seams.now();
    if (due <= now) return 0ms;
    return std::chrono::ceil<std::chrono::milliseconds>(std::min<Clock::duration>(due - now, 1min));
}

void KubernetesSource::synced(api::Kind kind) {
    if (awaited_.erase(kind) > 0 && awaited_.empty()) queue_->mark_synced();
}

void KubernetesSource::publish_stats() {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < reflectors_.size(); ++i) stats_.at(i) = reflectors_.at(i)->stats();
    stats_at_ = options_.seams.now();
}

KubernetesStats KubernetesSource::stats() const {
    const std::lock_guard lock(mutex_);
    auto stats = stats_;
    // The thread looks only when something happens; time passes meanwhile.
    for (auto& one : stats)
        if (one.watch_age_seconds)
            *one.watch_age_seconds += std::chrono::duration<double>(options_.seams.now() - stats_at_).count();
    return {stats[0], stats[1], stats[2], stats[3], poster_.stats()};
}

}  // namespace ghostip::source::kubernetes

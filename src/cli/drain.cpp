#include "cli/drain.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"

namespace ghostip::cli {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

void drain(const relay::Relay& relay, std::optional<milliseconds> longest, const std::function<bool()>& enough) {
    constexpr milliseconds kLook{100};
    const auto carried = relay.metrics();
    log::info("{} connections and {} UDP clients are carried; they have {} to end", carried.connections_open,
              carried.sessions_open,
              longest ? fmt::format("{} s", std::chrono::duration_cast<std::chrono::seconds>(*longest).count())
                      : "as long as they want");
    const auto start = steady_clock::now();
    for (milliseconds left = kLook; left.count() > 0;) {
        if (enough() || relay.wait_until_idle(std::min(left, kLook))) return;
        if (longest) left = std::chrono::ceil<milliseconds>(start + *longest - steady_clock::now());
    }
    log::warning("{} connections are cut", relay.metrics().connections_open);
}

Drain::~Drain() {
    enough_ = true;
    if (thread_.joinable()) thread_.join();
}

milliseconds Drain::longest() const { return carrier_ && longest_ ? *longest_ : milliseconds(0); }

void Drain::begin(std::function<void()> then) {
    if (begun_.exchange(true)) return;
    if (longest().count() == 0) return then();
    thread_ = std::thread([this, then = std::move(then)] {
        drain(carrier_->relay(), longest_, [this] { return enough_.load(); });
        then();
    });
}

}  // namespace ghostip::cli

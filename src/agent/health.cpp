#include "agent/health.h"

#include <algorithm>

#include <fmt/format.h>

#include "agent/json_text.h"

namespace ghostip::agent {
namespace {

constexpr std::string_view kNever = "0001-01-01T00:00:00Z";  // Go's zero time

http::Response json(bool good, std::string body) {
    return {good ? 200U : 503U,
            std::move(body),
            {{"Content-Type", "application/json"}, {"X-Content-Type-Options", "nosniff"}}};
}

}  // namespace

Health::SteadyTime Health::queued(net::Family family) {
    const auto now = clock_().steady;
    const std::lock_guard lock(mutex_);
    auto& pending = families_[family].oldest_pending;
    if (!pending) pending = now;
    return now;
}

void Health::updated(net::Family family, std::optional<SteadyTime> still_waiting) {
    const auto now = clock_().wall;
    const std::lock_guard lock(mutex_);
    families_[family] = {now, still_waiting};
}

void Health::set_node(NodeState state) {
    const std::lock_guard lock(mutex_);
    node_ = state;
}

void Health::synced() {
    const std::lock_guard lock(mutex_);
    synced_ = true;
}

bool Health::in_time(const FamilyState& state, const Moment& now) const {
    return !state.oldest_pending || now.steady - *state.oldest_pending < 2 * settings_.sync_period;
}

bool Health::healthy() const {
    const auto now = clock_();
    const std::lock_guard lock(mutex_);
    return std::all_of(families_.begin(), families_.end(),
                       [&](const auto& entry) { return in_time(entry.second, now); });
}

http::Response Health::page(Page page) const {
    const auto now = clock_();
    bool healthy = true;
    bool eligible = true;
    std::optional<WallTime> newest;
    std::string status;
    {
        const std::lock_guard lock(mutex_);
        eligible = node_ == NodeState::kEligible ||
                   (node_ == NodeState::kUnknown && settings_.node_object == NodeObject::kOptional);
        for (const auto& [family, state] : families_) {
            const bool well = in_time(state, now);
            healthy = healthy && well;
            newest = std::max(newest, state.last_updated);
            status +=
                fmt::format(R"({}"{}":{{"lastUpdated":"{}","healthy":{}}})", status.empty() ? "" : ",",
                            net::family_name(family), state.last_updated ? rfc3339(*state.last_updated) : kNever, well);
        }
    }
    const bool good = healthy && (eligible || page == Page::kLivez);
    if (good) newest = now.wall;
    return json(good, fmt::format(R"({{"lastUpdated":"{}","currentTime":"{}",{}"healthy":{}{}}})",
                                  newest ? rfc3339(*newest) : kNever, rfc3339(now.wall),
                                  page == Page::kHealthz ? fmt::format(R"("nodeEligible":{},)", eligible) : "", healthy,
                                  status.empty() ? "" : ",\"status\":{" + status + "}"));
}

http::Response Health::healthz() const { return page(Page::kHealthz); }

http::Response Health::livez() const { return page(Page::kLivez); }

http::Response Health::readyz() const {
    const std::lock_guard lock(mutex_);
    return json(synced_, synced_ ? R"({"ready":true})" : R"({"ready":false,"reason":"the first sync is not done"})");
}

}  // namespace ghostip::agent

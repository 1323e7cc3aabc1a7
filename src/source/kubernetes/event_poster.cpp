#include "source/kubernetes/event_poster.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "source/kubernetes/trouble.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kQueue = 1000;
constexpr int kTries = 12;
constexpr auto kPause = 10s;
constexpr double kJitter = 0.25;
constexpr auto kRefreshEvery = 30min;
constexpr auto kFinishedAfter = 6min;
constexpr auto kAnswerStart = std::size_t{4096};

// What makes two events the same; the note is not part of it.
std::string series_key(const Event& event) {
    const auto& regarding = event.regarding;
    return fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", static_cast<int>(event.type), event.action, event.reason,
                       regarding.api_version, regarding.kind, regarding.namespace_, regarding.name, regarding.uid);
}

std::uint64_t random_bits(const std::function<double()>& random) {
    constexpr double kHalf = 4294967296.0;
    return (static_cast<std::uint64_t>(random() * kHalf) << 32) | static_cast<std::uint64_t>(random() * kHalf);
}

}  // namespace

EventPoster::~EventPoster() {
    if (request_) transport_.cancel(*request_);
}

void EventPoster::post(Event event) {
    {
        const std::lock_guard lock(mutex_);
        if (waiting_ >= kQueue) {
            ++stats_.dropped;
            return;
        }
        ++waiting_;
        incoming_.emplace_back(std::move(event), seams_.wall());
    }
    transport_.wake();
}

EventStats EventPoster::stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
}

Clock::time_point EventPoster::due() const {
    {
        const std::lock_guard lock(mutex_);
        if (!incoming_.empty()) return Clock::time_point::min();
    }
    auto due = Clock::time_point::max();
    if (!tasks_.empty() && !request_) due = retry_at_;
    if (finish_at_) due = std::min({due, *finish_at_, *refresh_at_});
    return due;
}

void EventPoster::tick() {
    std::vector<std::pair<Event, WallTime>> incoming;
    {
        const std::lock_guard lock(mutex_);
        std::swap(incoming, incoming_);
        waiting_ -= incoming.size();
    }
    for (auto& [event, when] : incoming) take_in(std::move(event), when);
    const auto now = seams_.now();
    look_after_series(now);
    if (!tasks_.empty() && !request_ && now >= retry_at_) send();
}

void EventPoster::take_in(Event event, WallTime when) {
    const auto now = seams_.now();
    auto key = series_key(event);
    const auto [place, is_new] = series_.try_emplace(key);
    Series& series = place->second;
    series.last = now;
    if (is_new) {
        auto name = event_name(event.regarding, when, random_bits(seams_.random), random_bits(seams_.random));
        series.record = {std::move(event), std::move(name), when, 1, when};
        if (!finish_at_) {
            finish_at_ = now + kFinishedAfter;
            refresh_at_ = now + kRefreshEvery;
        }
        add_task(key, Write::kCreate);
        return;
    }
    series.record.last_observed = when;
    if (++series.record.count == 2) add_task(key, Write::kPatch);
}

void EventPoster::add_task(const std::string& series, Write write) {
    ++series_.at(series).tasks;
    tasks_.push_back({series, write});
    const std::lock_guard lock(mutex_);
    ++waiting_;
}

void EventPoster::look_after_series(Clock::time_point now) {
    if (!finish_at_) return;
    const bool refresh = now >= *refresh_at_;
    if (!refresh && now < *finish_at_) return;
    for (auto place = series_.begin(); place != series_.end();) {
        auto& [key, series] = *place;
        const bool finished = now - series.last >= kFinishedAfter;
        const bool unwritten = series.written_count < series.record.count;
        if (series.tasks == 0 && unwritten && (refresh || finished)) add_task(key, Write::kPatch);
        const bool forget = finished && series.tasks == 0;
        place = forget ? series_.erase(place) : std::next(place);
    }
    finish_at_ = now + kFinishedAfter;
    if (refresh) refresh_at_ = now + kRefreshEvery;
    if (series_.empty()) {
        finish_at_.reset();
        refresh_at_.reset();
    }
}

void EventPoster::send() {
    Task& task = tasks_.front();
    const Series& series = series_.at(task.series);
    const auto& record = series.record;
    ++task.tries;
    sent_count_ = record.count;
    head_ = {};
    body_.clear();
    Request request{.target = events_path(record.event.regarding), .accept = "application/json"};
    if (task.write == Write::kCreate) {
        request.method = "POST";
        request.content_type = "application/json";
        request.body = create_body(reporter_, record);
    } else {
        request.method = "PATCH";
        request.target += "/" + record.name;
        request.content_type = "application/strategic-merge-patch+json";
        request.body = series_patch(record);
    }
    request_ = transport_.send(std::move(request), *this);
}

void EventPoster::on_head(const ResponseHead& head) { head_ = head; }

void EventPoster::on_body(std::string_view bytes) {
    if (body_.size() < kAnswerStart) body_.append(bytes.substr(0, kAnswerStart - body_.size()));
}

void EventPoster::on_end(const std::optional<TransportError>& error) {
    request_.reset();
    const int status = head_.status;
    if (status == 0) return try_later({}, error ? error->message : "no answer");
    Task& task = tasks_.front();
    const bool is_patch = task.write == Write::kPatch;
    if (status >= 200 && status < 300) {
        series_.at(task.series).written_count = sent_count_;
        return done("");
    }
    // Another try of ours came through.
    if (!is_patch && status == 409) return done("");
    // The event has reached its end of life on the server: the series goes on with a new one.
    if (is_patch && status == 404) {
        task.write = Write::kCreate;
        retry_at_ = seams_.now();
        return;
    }
    const Trouble trouble = trouble_of(head_, body_);
    if (trouble.kind == Trouble::Kind::kThrottled) return try_later(trouble.retry_after, trouble.text);
    done(trouble.text);
}

// `outcome`: why it was rejected; empty: it was written.
void EventPoster::done(const std::string& outcome) {
    --series_.at(tasks_.front().series).tasks;
    if (!outcome.empty()) series_.at(tasks_.front().series).written_count = sent_count_;
    tasks_.pop_front();
    retry_at_ = seams_.now();
    {
        const std::lock_guard lock(mutex_);
        --waiting_;
        ++(outcome.empty() ? stats_.written : stats_.rejected);
    }
    if (outcome.empty())
        said_.clear();
    else
        say_once(fmt::format("an event is not written: {}", outcome));
}

void EventPoster::try_later(std::optional<std::chrono::seconds> at_least, const std::string& why) {
    const auto now = seams_.now();
    if (tasks_.front().tries >= kTries) {
        --series_.at(tasks_.front().series).tasks;
        tasks_.pop_front();
        retry_at_ = now;
        {
            const std::lock_guard lock(mutex_);
            --waiting_;
            ++stats_.dropped;
        }
        say_once(fmt::format("an event is given up after {} tries: {}", kTries, why));
        return;
    }
    const auto pause = std::chrono::duration<double>(kPause) * (1 + kJitter * seams_.random());
    retry_at_ = now + std::max(std::chrono::duration_cast<Clock::duration>(pause),
                               Clock::duration(std::min(at_least.value_or(0s), std::chrono::seconds(10min))));
}

void EventPoster::say_once(const std::string& text) {
    if (std::exchange(said_, text) != text) say_(log::Level::kWarning, "events: " + text);
}

}  // namespace ghostip::source::kubernetes

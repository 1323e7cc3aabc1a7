#include "source/kubernetes/reflector.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using Kind = Trouble::Kind;

// From when on a watch that is silent but open counts as one that works again.
constexpr auto kStands = 10s;
// How long without an event before it is worth a line that the initial state is still coming.
constexpr auto kSlow = 10s;
// A server that tells us to stay away for a year is not obeyed.
constexpr auto kRetryAfterLimit = std::chrono::seconds(600);

}  // namespace

Reflector::Reflector(Resource resource, ReflectorOptions options, Seams seams, Transport& transport,
                     ReflectorListener& listener)
    : resource_(std::move(resource)),
      options_(std::move(options)),
      seams_(std::move(seams)),
      transport_(transport),
      listener_(listener),
      replica_(resource_.name, options_.mass_removal, listener) {}

// ---- Rounds: from nothing, or from a version that is of no use any more, to a watch.

void Reflector::begin_round() {
    cut_streams_ = 0;
    throttled_streams_ = 0;
    // A doubted state is compared with one from behind all caches.
    if (replica_.holding())
        list("");
    else if (options_.streaming_lists)
        stream();
    else
        list(version_for_list());
}

void Reflector::stream() {
    replica_.begin();
    stream_had_events_ = false;
    asked_version_ = version_unavailable_ ? "" : version_;
    send(Phase::kStreaming, watch_target(resource_, asked_version_, watch_timeout(), InitialEvents::kSend),
         Exchange::Form::kWatch);
}

std::string Reflector::version_for_list() const {
    return version_unavailable_ ? "" : version_.empty() ? "0" : version_;
}

void Reflector::list(std::string resource_version) {
    list_version_ = std::move(resource_version);
    list_began_ = seams_.now();
    const bool paged = list_version_.empty() || list_version_ == "0" || always_paged_;
    replica_.begin();
    list_page({list_version_, paged ? kPageSize : 0, ""});
}

void Reflector::list_page(ListPage page) {
    page_ = std::move(page);
    asked_version_ = list_version_;
    send(Phase::kListing, list_target(resource_, page_), Exchange::Form::kList);
}

void Reflector::watch() {
    // Without a version nobody can tell what was missed.
    if (version_.empty() && phase_ != Phase::kListing) {
        begin_round();
        return;
    }
    if (phase_ != Phase::kListing) ++counts_.watch_restarts;
    asked_version_ = version_;
    synthetic_ = version_.empty() || version_ == "0";
    send(Phase::kWatching, watch_target(resource_, version_, watch_timeout(), InitialEvents::kNo),
         Exchange::Form::kWatch);
}

// One object of a list past all caches: its head has the server's version. A server that was away may have come back
// from a backup; a watch from our version would then be silent until it has got there again, and go on from there as if
// nothing had been. (Whoever got there before we are back cannot be told from one that was never set back; for that
// etcd's restore can skip versions.)
void Reflector::probe() {
    if (version_.empty()) return begin_round();
    asked_version_ = version_;
    send(Phase::kProbing, list_target(resource_, {"", 1, ""}), Exchange::Form::kList);
}

void Reflector::wait_for(Next next, const Trouble& trouble, Doing doing) {
    retire();
    const auto now = seams_.now();
    auto delay = backoff_.step(now, seams_.random());
    if (trouble.retry_after) delay = std::max<Clock::duration>(delay, std::min(*trouble.retry_after, kRetryAfterLimit));
    wait_until_ = now + delay;
    next_ = next;
    phase_ = Phase::kWaiting;
    if (troubles_.meet(doing, trouble, now))
        say(log::Level::kWarning,
            fmt::format("cannot {}: {}; {}; next try in {:.1f} s, then with growing pauses of up to a minute",
                        doing == Doing::kListing ? "list" : "watch", trouble.text, what_serves(),
                        std::chrono::duration<double>(delay).count()));
}

void Reflector::send(Phase phase, std::string target, Exchange::Form form) {
    retire();
    phase_ = phase;
    sent_at_ = alive_at_ = seams_.now();
    opened_at_.reset();
    progressed_ = false;
    Request request{.target = std::move(target), .accept = json_only_ ? "application/json" : options_.accept};
    request.rate_limited = form == Exchange::Form::kList;
    ExchangeUser& user = *this;
    exchange_ = std::make_unique<Exchange>(transport_, std::move(request), form, resource_.kind, user);
}

void Reflector::retire() {
    replica_.flush();
    if (!exchange_) return;
    exchange_->cancel();
    retired_ = std::move(exchange_);
}

std::chrono::seconds Reflector::watch_timeout() const {
    return std::chrono::seconds(300 + std::min(299, static_cast<int>(seams_.random() * 300)));
}

// ---- Time.

// When the request under way counts as dead.
Clock::time_point Reflector::deadline() const {
    const auto silent = alive_at_ + options_.stall_limit;
    if (phase_ == Phase::kStreaming) return std::min(silent, sent_at_ + options_.list_limit);
    if (phase_ == Phase::kListing) return std::min(silent, list_began_ + options_.list_limit);
    return silent;
}

Clock::time_point Reflector::due() const {
    if (phase_ == Phase::kIdle) return Clock::time_point::max();
    auto due = phase_ == Phase::kWaiting ? wait_until_ : deadline();
    if (replica_.holding()) {
        due = std::min(due, replica_.hold_until());
        if (phase_ == Phase::kWatching) due = std::min(due, replica_.ask_again_at());
    }
    if (phase_ == Phase::kWatching && opened_at_ && troubles_.any(Doing::kWatching))
        due = std::min(due, *opened_at_ + kStands);
    if (phase_ == Phase::kStreaming && !said_slow_) due = std::min(due, alive_at_ + kSlow);
    return due;
}

void Reflector::tick() {
    const auto now = seams_.now();
    if (replica_.holding() && now >= replica_.hold_until()) replica_.stop_holding();
    switch (phase_) {
        case Phase::kIdle: return;
        case Phase::kWaiting:
            if (now < wait_until_) return;
            if (next_ == Next::kWatch)
                watch();
            else if (next_ == Next::kProbe)
                probe();
            else if (next_ == Next::kStream)
                stream();
            else
                begin_round();
            return;
        case Phase::kStreaming:
            if (!said_slow_ && now >= alive_at_ + kSlow) {
                said_slow_ = true;
                say(log::Level::kInfo, "still waiting for the server to send all that exists");
            }
            break;
        case Phase::kListing:
        case Phase::kProbing: break;
        case Phase::kWatching:
            if (replica_.holding() && now >= replica_.ask_again_at()) {
                list("");
                return;
            }
            if (opened_at_ && now >= *opened_at_ + kStands)
                if (const auto spell = troubles_.over(Doing::kWatching, now))
                    say(log::Level::kInfo, fmt::format("the watch stands again {}", *spell));
            break;
    }
    if (now >= deadline()) stalled();
}

void Reflector::stalled() {
    ++counts_.stalls;
    const auto now = seams_.now();
    const auto seconds = std::chrono::round<std::chrono::seconds>(now - alive_at_).count();
    if (phase_ != Phase::kWatching) {
        const bool silent = now >= alive_at_ + options_.stall_limit;
        const Trouble trouble{Kind::kStalled, 0,
                              silent ? fmt::format("nothing has come for {} s", seconds)
                                     : fmt::format("not all has come within {} s", options_.list_limit.count())};
        if (phase_ == Phase::kStreaming)
            list_instead(trouble);
        else if (phase_ == Phase::kListing)
            list_failed(trouble);
        else
            wait_for(Next::kProbe, trouble, Doing::kWatching);
        return;
    }
    // A server that was set back to an older state waits silently for a version that is years away. Resuming from it
    // once is right for a connection that died; twice would be for ever.
    ++stalls_in_a_row_;
    const bool again = stalls_in_a_row_ >= 2;
    const Trouble trouble{Kind::kStalled, 0, "", {}, again ? 1 : 0};
    if (troubles_.meet(Doing::kWatching, trouble, now))
        say(log::Level::kWarning,
            fmt::format("the watch is open but dead: no event and no bookmark for {} s; {}", seconds,
                        again ? "once more, therefore listing anew" : "watching again from where it was"));
    if (again) {
        stalls_in_a_row_ = 0;
        resource_version_unavailable();
        begin_round();
    } else {
        watch();
    }
}

// ---- What arrives.

void Reflector::opened() { opened_at_ = alive_at_ = seams_.now(); }

void Reflector::received(api::Received received) {
    if (phase_ == Phase::kProbing) return;
    if (phase_ == Phase::kListing) {
        replica_.collect(std::move(received));
        return;
    }
    if (phase_ == Phase::kWatching) {
        follow(std::move(received));
        return;
    }
    stream_had_events_ = true;
    if (!received.initial_events_end) {
        replica_.collect(std::move(received));
        return;
    }
    if (is_older(received.resource_version, asked_version_)) {
        say(log::Level::kWarning,
            fmt::format("the server's state is at resource version {}, which is before ours ({}): it was set back; "
                        "asking for its newest",
                        received.resource_version, asked_version_));
        resource_version_unavailable();
        stream();
        return;
    }
    cut_streams_ = 0;
    phase_ = Phase::kWatching;
    synthetic_ = false;
    progressed_ = true;
    take_over(std::move(received.resource_version));
}

void Reflector::follow(api::Received received) {
    const bool bookmark = received.type == api::EventType::kBookmark;
    // A deletion may carry the version of what was deleted (old servers).
    if (!synthetic_ && received.type != api::EventType::kDeleted && is_older(received.resource_version, version_)) {
        say(log::Level::kWarning, fmt::format("resource versions run backwards, from {} to {}: the server was set back "
                                              "to an older state; listing anew",
                                              version_, received.resource_version));
        resource_version_unavailable();
        begin_round();
        return;
    }
    if (received.type != api::EventType::kAdded) synthetic_ = false;
    if (!synthetic_ && !received.resource_version.empty() && !is_older(received.resource_version, version_))
        if (std::exchange(version_, received.resource_version) != received.resource_version) progressed_ = true;
    if (!bookmark) ++counts_.events;
    sign_of_life();
    replica_.follow(std::move(received));
}

void Reflector::sign_of_life() {
    const auto now = seams_.now();
    alive_at_ = now;
    life_at_ = now;
    stalls_in_a_row_ = 0;
    broken_opens_ = 0;
    if (const auto spell = troubles_.over(Doing::kWatching, now))
        say(log::Level::kInfo, fmt::format("the watch delivers again {}", *spell));
}

void Reflector::take_over(std::string resource_version) {
    const auto now = seams_.now();
    const bool asked = phase_ == Phase::kListing && asked_version_.empty();
    replica_.take_over(asked ? Replica::Answer::kAsked : Replica::Answer::kAny, now);
    version_ = std::move(resource_version);
    version_unavailable_ = false;
    said_slow_ = false;
    life_at_ = alive_at_ = now;
    if (const auto spell = troubles_.over(Doing::kListing, now))
        say(log::Level::kInfo, fmt::format("listed {}: {} objects", *spell, replica_.size()));
    if (std::exchange(synced_, true))
        ++counts_.relists;
    else
        listener_.synced(resource_.kind);
}

void Reflector::fed() {
    replica_.flush();
    // While all that exists is still coming, bytes are life; a watch has to show whole events.
    if (phase_ != Phase::kWatching) alive_at_ = seams_.now();
}

void Reflector::ended(Ending ending) {
    replica_.flush();
    switch (phase_) {
        case Phase::kStreaming: return stream_ended(ending);
        case Phase::kListing: return list_ended(ending);
        case Phase::kProbing: return probe_ended(ending);
        case Phase::kWatching: return watch_ended(ending);
        case Phase::kIdle:
        case Phase::kWaiting: return;
    }
}

// ---- Messages.

void Reflector::say(log::Level level, std::string_view text) {
    listener_.say(level, fmt::format("{}: {}", resource_.name, text));
}

void Reflector::problem(api::Problem problem) {
    std::string text = problem.text();
    if (!first_time(text)) return;
    if (problem.severity == api::Severity::kError)
        say(log::Level::kWarning, fmt::format("{}; what was last understood of it stays", text));
    else
        say(log::Level::kInfo, text);
}

void Reflector::warning(const std::string& text) {
    const auto line = fmt::format("the server warns: {}", api::printable(text));
    if (first_time(line)) say(log::Level::kWarning, line);
}

// So that a line that would come with every event comes once. Forgets when there are too many: foreign text must not
// grow the memory.
bool Reflector::first_time(std::string_view text) {
    constexpr std::size_t kRemembered = 1000;
    if (said_.size() >= kRemembered) said_.clear();
    return said_.emplace(text).second;
}

std::string Reflector::what_serves() const {
    if (!synced_) return "nothing has been received yet";
    return fmt::format("what is known ({} objects) stays in place", replica_.size());
}

ReflectorStats Reflector::stats() const {
    ReflectorStats stats = counts_;
    stats.synced = synced_;
    if (life_at_) stats.watch_age_seconds = std::chrono::duration<double>(seams_.now() - *life_at_).count();
    stats.decode_failures = replica_.decode_failures();
    stats.held_removals = replica_.held_removals();
    stats.holding = replica_.holding();
    stats.objects = replica_.size();
    return stats;
}

}  // namespace ghostip::source::kubernetes

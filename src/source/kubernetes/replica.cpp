#include "source/kubernetes/replica.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace ghostip::source::kubernetes {
namespace {

std::string lacking(const std::vector<api::Change>& changes, const Removal& removal) {
    if (removal.removed != 0) return fmt::format("{} of {} destinations", removal.removed, removal.of);
    return fmt::format("{} objects", std::ranges::count_if(changes, [](const auto& change) { return !change.object; }));
}

}  // namespace

void Replica::begin() {
    next_ = {};
    unnamed_ = 0;
}

void Replica::collect(api::Received received) {
    if (received.type == api::EventType::kBookmark) return;
    if (received.type == api::EventType::kDeleted) {
        next_.remove(received.key);
        return;
    }
    const auto* known = store_.find(received.key);
    if (received.object) {
        // What has not changed is shared with the present state, so that a full state costs pointers.
        if (known != nullptr && api::same_content(*known, *received.object)) received.object = *known;
        next_.put(std::move(*received.object));
        return;
    }
    ++decode_failures_;
    if (received.key.name.empty())
        ++unnamed_;
    else if (known != nullptr && next_.find(received.key) == nullptr)
        next_.put(*known);
}

void Replica::take_over(Answer answer, Clock::time_point now) {
    flush();
    auto changes = differences(store_, next_);
    const Removal removal = weigh(store_, changes);
    const bool asked = hold_ && answer == Answer::kAsked;
    if (!asked && doubtful(changes, removal)) {
        hold(std::move(changes), removal, now);
        next_ = {};
        return;
    }
    if (asked)
        listener_.say(
            log::Level::kWarning,
            doubtful(changes, removal)
                ? fmt::format("{}: a second list agrees: {} removed now", resource_, lacking(changes, removal))
                : fmt::format("{}: a second list does not agree with the one that was held back; the second "
                              "is believed",
                              resource_));
    hold_.reset();
    store_ = std::exchange(next_, {});
    if (!changes.empty()) listener_.changed(std::move(changes));
}

// An object without a name may be any of those that are missing. A Node that is gone makes load balancers leave this
// node, and a range takes its protection along: neither is a destination, and neither goes because of one answer.
bool Replica::doubtful(const std::vector<api::Change>& changes, const Removal& removal) const {
    if (is_mass_removal(limits_, removal)) return true;
    const auto matters = [](const api::Change& change) {
        return !change.object && (change.key.kind == api::Kind::kNode || change.key.kind == api::Kind::kServiceCidr);
    };
    if (holds_at_all(limits_) && std::ranges::any_of(changes, matters)) return true;
    return unnamed_ > 0 && std::ranges::any_of(changes, [](const auto& change) { return !change.object; });
}

void Replica::hold(std::vector<api::Change> changes, const Removal& removal, Clock::time_point now) {
    const std::string what = lacking(changes, removal);
    // (The ranges form returns a type that clang 14 does not compile.)
    const auto held = std::stable_partition(changes.begin(), changes.end(),
                                            [&](const auto& change) { return !takes_away(store_, change); });
    Hold hold{now + limits_.ask_again_after, now + limits_.hold_at_most, {}};
    if (hold_) hold.until = hold_->until;
    for (auto change = held; change != changes.end(); ++change)
        hold.pending.emplace(std::move(change->key), std::move(change->object));
    changes.erase(held, changes.end());
    hold_ = std::move(hold);
    ++held_removals_;
    listener_.say(log::Level::kError,
                  fmt::format("{}: the server's list lacks {} at once{}; they are kept, the list is asked for "
                              "again in {} s, and believed if it is the same or if there is no other for {} s",
                              resource_, what,
                              unnamed_ > 0 ? fmt::format(" and has {} objects that cannot be told", unnamed_) : "",
                              limits_.ask_again_after.count(), limits_.hold_at_most.count()));
    listener_.held({resource_, removal, limits_.hold_at_most});
    apply(std::move(changes));
}

void Replica::stop_holding() {
    if (!hold_) return;
    std::vector<api::Change> changes;
    for (auto& [key, object] : hold_->pending) changes.push_back({key, std::move(object)});
    hold_.reset();
    listener_.say(log::Level::kError,
                  fmt::format("{}: no second list could be had for {} s: what the first one lacks is removed now",
                              resource_, limits_.hold_at_most.count()));
    apply(std::move(changes));
}

void Replica::apply(std::vector<api::Change> changes) {
    flush();
    for (const auto& change : changes) {
        if (change.object)
            store_.put(*change.object);
        else
            store_.remove(change.key);
    }
    if (!changes.empty()) listener_.changed(std::move(changes));
}

void Replica::follow(api::Received received) {
    if (received.type == api::EventType::kBookmark) return;
    heard_of(received.key);
    if (received.type == api::EventType::kDeleted) {
        if (store_.remove(received.key)) changes_.push_back({std::move(received.key), std::nullopt});
    } else if (!received.object) {
        ++decode_failures_;
    } else if (store_.put(*received.object)) {
        changes_.push_back({std::move(received.key), std::move(received.object)});
    }
}

// An event says more than the list that is doubted.
void Replica::heard_of(const api::ObjectKey& key) {
    if (!hold_ || hold_->pending.erase(key) == 0 || !hold_->pending.empty()) return;
    hold_.reset();
    listener_.say(log::Level::kInfo, fmt::format("{}: nothing is held back any more", resource_));
}

void Replica::flush() {
    if (!changes_.empty()) listener_.changed(std::exchange(changes_, {}));
}

}  // namespace ghostip::source::kubernetes

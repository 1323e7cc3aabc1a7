// What a reflector does when an answer ends: the decisions, one a phase.
#include <utility>

#include <fmt/format.h>

#include "source/kubernetes/reflector.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using Kind = Trouble::Kind;

// A watch that is over sooner, and has brought nothing, is no watch.
constexpr auto kVeryShort = 1s;
// Streams that end before all is there: after so many in a row, pages get through better.
constexpr int kStreamTries = 3;
constexpr int kBrokenOpens = 5;
constexpr int kThrottledStreams = 10;

}  // namespace

void Reflector::stream_ended(const Ending& ending) {
    const bool brief = seams_.now() - opened_at_.value_or(sent_at_) < kVeryShort && !stream_had_events_;
    if (!ending.trouble || (ending.opened && ending.trouble->kind == Kind::kBroken)) {
        const Trouble cut = ending.trouble.value_or(Trouble{Kind::kBroken, 0, "the stream ended before all was there"});
        if (brief)
            list_instead({Kind::kShort, 0, "the stream ended as soon as it began"});
        else
            stream_cut(cut);
        return;
    }
    const Trouble& trouble = *ending.trouble;
    switch (trouble.kind) {
        case Kind::kThrottled:
            // A server that never has room for the stream may have some for a list.
            if (trouble.code != 429 && ++throttled_streams_ > kThrottledStreams) return list_instead(trouble);
            [[fallthrough]];
        case Kind::kUnreachable: return wait_for(Next::kStream, trouble, Doing::kListing);
        case Kind::kExpired:
        case Kind::kTooLarge:
            if (asked_version_.empty()) return list_instead(trouble);
            resource_version_unavailable();
            return stream();
        case Kind::kNotAcceptable:
            if (speak_json()) return stream();
            return list_instead(trouble);
        default: return list_instead(trouble);
    }
}

// At once the first time; a stream that is cut again and again must not become a busy loop.
void Reflector::stream_cut(const Trouble& trouble) {
    ++cut_streams_;
    if (cut_streams_ >= kStreamTries)
        list_instead(trouble);
    else if (cut_streams_ == 1)
        stream();
    else
        wait_for(Next::kStream, trouble, Doing::kListing);
}

// For this round; the next one tries to stream again.
void Reflector::list_instead(const Trouble& trouble) {
    // Where the list is refused too, that is the message.
    const bool list_will_say = trouble.kind == Kind::kRejected && (trouble.code == 401 || trouble.code == 403 ||
                                                                   trouble.code == 404 || trouble.code >= 500);
    const auto line = fmt::format("no streaming list: {}; listing in pages", trouble.text);
    if (first_time(line)) say(list_will_say ? log::Level::kDebug : log::Level::kInfo, line);
    list(version_for_list());
}

void Reflector::list_ended(const Ending& ending) {
    if (ending.trouble) {
        list_failed(*ending.trouble);
        return;
    }
    if (page_.continue_token.empty()) {
        first_version_ = ending.list.resource_version;
        if (list_version_ == "0" && !ending.list.continue_token.empty()) always_paged_ = true;
    }
    if (!ending.list.continue_token.empty()) {
        list_page({"", kPageSize, ending.list.continue_token});
        return;
    }
    if (is_older(first_version_, list_version_)) {
        say(log::Level::kWarning, fmt::format("the server's list is at resource version {}, which is before ours ({}): "
                                              "it was set back; asking for its newest",
                                              first_version_, list_version_));
        resource_version_unavailable();
        list("");
        return;
    }
    take_over(first_version_);
    watch();
}

void Reflector::list_failed(const Trouble& trouble) {
    switch (trouble.kind) {
        case Kind::kExpired:
            if (!page_.continue_token.empty()) {
                replica_.begin();
                return list_page({list_version_, 0, ""});
            }
            [[fallthrough]];
        case Kind::kTooLarge:
            if (list_version_.empty()) break;
            resource_version_unavailable();
            return list("");
        case Kind::kNotAcceptable:
            if (speak_json()) return list_page(page_);
            break;
        default: break;
    }
    wait_for(Next::kRound, trouble, Doing::kListing);
}

void Reflector::probe_ended(const Ending& ending) {
    if (!ending.trouble) {
        if (!is_older(ending.list.resource_version, version_)) return watch();
        say(log::Level::kWarning,
            fmt::format("the server is back at resource version {}, which is before ours ({}): it "
                        "was set back; listing anew",
                        ending.list.resource_version, version_));
        resource_version_unavailable();
        return begin_round();
    }
    switch (ending.trouble->kind) {
        case Kind::kUnreachable:
        case Kind::kBroken:
        case Kind::kThrottled: return wait_for(Next::kProbe, *ending.trouble, Doing::kWatching);
        case Kind::kNotAcceptable: return speak_json() ? probe() : watch();
        // Not worth more: whoever has no answer to this may have one to the watch.
        default: return watch();
    }
}

void Reflector::watch_ended(const Ending& ending) {
    const auto now = seams_.now();
    if (!ending.trouble || (ending.opened && ending.trouble->kind == Kind::kBroken)) {
        if (now - sent_at_ < kVeryShort && !progressed_)
            return wait_for(Next::kRound, {Kind::kShort, 0, "the watch ended as soon as it began"}, Doing::kWatching);
        if (ending.trouble)
            say(log::Level::kDebug,
                fmt::format("the watch broke: {}; going on from {}", ending.trouble->text, version_));
        return watch();
    }
    const Trouble& trouble = *ending.trouble;
    switch (trouble.kind) {
        case Kind::kBroken:
            // Whoever never lets a watch begin may still let a list through.
            if (++broken_opens_ >= kBrokenOpens) {
                broken_opens_ = 0;
                return wait_for(Next::kRound, trouble, Doing::kWatching);
            }
            [[fallthrough]];
        case Kind::kUnreachable: return wait_for(Next::kProbe, trouble, Doing::kWatching);
        case Kind::kThrottled: return wait_for(Next::kWatch, trouble, Doing::kWatching);
        case Kind::kNotAcceptable:
            if (speak_json()) return watch();
            return wait_for(Next::kRound, trouble, Doing::kWatching);
        case Kind::kTooLarge: resource_version_unavailable(); [[fallthrough]];
        default: return wait_for(Next::kRound, trouble, Doing::kWatching);
    }
}

// Whether that is new.
bool Reflector::speak_json() {
    if (std::exchange(json_only_, true)) return false;
    say(log::Level::kInfo, "the server does not speak protobuf; asking for JSON");
    return true;
}

}  // namespace ghostip::source::kubernetes

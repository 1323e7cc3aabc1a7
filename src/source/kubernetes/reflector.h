// Keeps a replica of one resource of an API server (spec: client-go's reflector): lists it, watches it, and after any
// trouble goes on from the last resource version. No threads; the clock is asked, never slept on: whoever owns it calls
// tick() when due() has come.
//
//        +--------------------------- backoff <----------------------------+
//        v                                                                 | expired, rejected, garbage
//     round ---> streaming list ---> all there ---> watching (same stream) -+
//                     | not offered      ^             |  ^
//                     v                  |             v  | closed, broken, dead: from the last resource version;
//                paged lists ------------+          reopen+  unreachable, throttled: after a backoff
//
// What has been handed on stays as it is through every trouble: only a whole new state or an event changes it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "source/kubernetes/exchange.h"
#include "source/kubernetes/replica.h"
#include "source/kubernetes/resource.h"
#include "source/kubernetes/trouble.h"

namespace ghostip::source::kubernetes {

struct Seams {
    std::function<Clock::time_point()> now = [] { return Clock::now(); };
    std::function<double()> random;  // uniform in [0, 1)
};

struct ReflectorOptions {
    // Media types, protobuf first. A server that refuses them is asked for JSON alone.
    std::string accept = "application/vnd.kubernetes.protobuf, */*";
    // False: initial states are listed, never streamed (gate WatchListClient).
    bool streaming_lists = true;
    // How long a watch may show no event and no bookmark, or a list no byte. The server sends a bookmark about once a
    // minute to whoever allows it, so three are missing then.
    std::chrono::seconds stall_limit{180};
    // How long the whole of a list may take, however steadily it trickles.
    std::chrono::seconds list_limit{600};
    MassRemovalLimits mass_removal = {};
};

struct ReflectorStats {
    bool synced = false;  // a full state has been handed on
    // Since the last sign of life: an event, a bookmark, a whole list. Absent before the first.
    std::optional<double> watch_age_seconds = {};
    std::uint64_t relists = 0;         // full states after the first
    std::uint64_t watch_restarts = 0;  // watches that went on from a resource version
    std::uint64_t stalls = 0;          // answers given up because nothing came
    std::uint64_t events = 0;          // of watches, without bookmarks
    std::uint64_t decode_failures = 0;
    std::uint64_t held_removals = 0;  // answers that were not believed at once
    bool holding = false;             // one is at this moment
    std::size_t objects = 0;

    friend bool operator==(const ReflectorStats&, const ReflectorStats&) = default;
};

class Reflector final : private ExchangeUser {
  public:
    // The references outlive the reflector.
    Reflector(Resource resource, ReflectorOptions options, Seams seams, Transport& transport,
              ReflectorListener& listener);
    ~Reflector() override = default;
    Reflector(const Reflector&) = delete;
    Reflector& operator=(const Reflector&) = delete;

    void start() { begin_round(); }
    // When tick() has something to do at the latest; calls before that are cheap and do nothing.
    [[nodiscard]] Clock::time_point due() const;
    void tick();

    [[nodiscard]] ReflectorStats stats() const;
    [[nodiscard]] const Resource& resource() const { return resource_; }

  private:
    enum class Phase : std::uint8_t { kIdle, kWaiting, kStreaming, kListing, kProbing, kWatching };
    enum class Next : std::uint8_t { kRound, kStream, kProbe, kWatch };
    using Doing = TroubleLog::Doing;

    // Rounds.
    void begin_round();
    void stream();
    void list(std::string resource_version);
    [[nodiscard]] std::string version_for_list() const;
    void list_page(ListPage page);
    void probe();
    void watch();
    void wait_for(Next next, const Trouble& trouble, Doing doing);
    void send(Phase phase, std::string target, Exchange::Form form);
    void retire();

    // Endings.
    void stream_ended(const Ending& ending);
    void stream_cut(const Trouble& trouble);
    void list_instead(const Trouble& trouble);
    void list_ended(const Ending& ending);
    void list_failed(const Trouble& trouble);
    void probe_ended(const Ending& ending);
    void watch_ended(const Ending& ending);
    void stalled();
    [[nodiscard]] bool speak_json();
    void resource_version_unavailable() { version_unavailable_ = true; }

    // What arrives.
    void opened() override;
    void received(api::Received received) override;
    void problem(api::Problem problem) override;
    void warning(const std::string& text) override;
    void fed() override;
    void ended(Ending ending) override;
    void follow(api::Received received);
    void take_over(std::string resource_version);
    void sign_of_life();

    // Messages.
    void say(log::Level level, std::string_view text);
    [[nodiscard]] bool first_time(std::string_view text);
    [[nodiscard]] std::string what_serves() const;

    [[nodiscard]] Clock::time_point deadline() const;
    [[nodiscard]] std::chrono::seconds watch_timeout() const;

    const Resource resource_;
    const ReflectorOptions options_;
    const Seams seams_;
    Transport& transport_;
    ReflectorListener& listener_;

    Replica replica_;
    TroubleLog troubles_;
    Backoff backoff_;
    std::unique_ptr<Exchange> exchange_;
    std::unique_ptr<Exchange> retired_;  // may still be on the stack

    Phase phase_ = Phase::kIdle;
    Next next_ = Next::kRound;      // kWaiting: what then
    Clock::time_point wait_until_;  // kWaiting
    Clock::time_point sent_at_;     // of the request under way
    Clock::time_point alive_at_;    // of it: when it last made progress
    std::optional<Clock::time_point> opened_at_;
    std::string asked_version_;  // with which it was sent

    std::string version_;               // the last resource version that was seen; empty: none
    bool version_unavailable_ = false;  // the server does not have it: ask for its newest
    bool json_only_ = false;
    bool synced_ = false;
    bool synthetic_ = false;  // watching without a version: the first events are what exists, in any order
    bool stream_had_events_ = false;
    bool progressed_ = false;  // watching: something has come that the next watch need not ask for
    bool said_slow_ = false;
    int cut_streams_ = 0;        // in a row, before all was there
    int throttled_streams_ = 0;  // in this round, by errors of the server
    int broken_opens_ = 0;       // watches in a row that did not even begin
    int stalls_in_a_row_ = 0;    // watches without a sign of life
    ListPage page_;              // being asked for
    std::string list_version_;   // with which the list began
    std::string first_version_;  // that its first page has
    bool always_paged_ = false;
    Clock::time_point list_began_;

    std::optional<Clock::time_point> life_at_;
    ReflectorStats counts_;
    std::set<std::string, std::less<>> said_;  // problems and warnings, see first_time()
};

}  // namespace ghostip::source::kubernetes

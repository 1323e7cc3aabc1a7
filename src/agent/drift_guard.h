// Decides when to repair what others did to our rules of one family, and what to say about it. No kernel and no clock
// in here: it is told what happened when, and asked what is due.
//
// The first few repairs follow at once. Somebody who keeps writing meets longer and longer pauses and an alarm, so that
// two programs never write against each other without end. Belongs to one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "dataplane/dataplane.h"

namespace ghostip::agent {

struct DriftSettings {
    std::chrono::milliseconds gather{30};  // a burst of writes is one repair
    int prompt_repairs = 5;                // within `window`; one more is a fight
    std::chrono::milliseconds window{std::chrono::minutes(1)};
    std::chrono::milliseconds first_pause{std::chrono::seconds(1)};  // then doubled
    std::chrono::milliseconds longest_pause{std::chrono::minutes(5)};
    std::chrono::milliseconds calm{std::chrono::minutes(10)};  // without a write; then all is forgotten
};

struct LogLine {
    log::Level level;
    std::string text;
};

class DriftGuard {
  public:
    using Time = std::chrono::steady_clock::time_point;

    explicit DriftGuard(net::Family family, DriftSettings settings = {}) : family_(family), settings_(settings) {}

    // Somebody wrote.
    void wrote(dataplane::ForeignWrite write, Time now);
    // When take() or tick() will next have something to do; nothing: never, unless somebody writes.
    [[nodiscard]] std::optional<Time> due() const;
    // All that has to be looked at and repaired now; nothing while it is not due.
    [[nodiscard]] std::vector<dataplane::ForeignWrite> take(Time now);
    // What take() asked for is done: so many things differed, some of which are described. Zero is a repair too:
    // looking is work.
    void repaired(std::uint64_t differences, const std::vector<std::string>& examples, Time now);
    // It could not be done. The caller repeats it in its own way; the guard only says so.
    void failed(const std::string& reason);
    // Notices calm.
    void tick(Time now);

    // Somebody keeps writing.
    [[nodiscard]] bool alarm() const { return pause_.count() > 0; }
    [[nodiscard]] std::uint64_t writes() const { return writes_; }
    [[nodiscard]] std::uint64_t repairs() const { return repairs_; }
    // To be logged, each once.
    [[nodiscard]] std::vector<LogLine> take_lines();

  private:
    [[nodiscard]] std::string writers_text() const;
    void count_repair(Time now);

    const net::Family family_;
    const DriftSettings settings_;
    std::vector<dataplane::ForeignWrite> gathered_;
    std::map<std::string, std::uint64_t> writers_;  // of what is gathered: who, how often
    Time repair_at_{};                              // of what is gathered
    std::string taken_;                             // what is being repaired, in words
    std::deque<Time> recent_;                       // repairs within the window
    std::chrono::milliseconds pause_{0};            // not 0: the alarm is on
    Time not_before_{};                             // the next repair, while the alarm is on
    std::optional<Time> last_write_;                // not since the calm
    std::uint64_t writes_ = 0;
    std::uint64_t repairs_ = 0;
    std::vector<LogLine> lines_;
};

}  // namespace ghostip::agent

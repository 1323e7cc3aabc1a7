#include "agent/drift_guard.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace ghostip::agent {
namespace {

using dataplane::ForeignWrite;

constexpr std::size_t kWritesGathered = 100;  // more than that: look everywhere
constexpr std::size_t kWritesNamed = 3;       // in a log line
constexpr std::size_t kWritersKept = 100;     // a shell loop has another process id each time
constexpr std::size_t kWritersNamed = 5;

std::string plural(std::uint64_t count, std::string_view noun) {
    return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string seconds_text(std::chrono::milliseconds time) {
    return fmt::format("{} s", std::chrono::duration<double>(time).count());
}

std::string writer_name(const ForeignWrite& write) {
    if (write.process_id == 0 && write.process_name.empty()) return "an unknown process";
    return fmt::format("{} (process {})", write.process_name, write.process_id);
}

std::string describe(const std::vector<ForeignWrite>& writes) {
    std::vector<std::string> parts;
    std::size_t more = 0;
    for (const auto& write : writes) {
        if (write.what.empty() || std::find(parts.begin(), parts.end(), write.what) != parts.end()) continue;
        if (parts.size() < kWritesNamed)
            parts.push_back(write.what);
        else
            ++more;
    }
    std::string text = fmt::format("{}", fmt::join(parts, ", "));
    return more == 0 ? text : fmt::format("{}, and {}", text, plural(more, "more change"));
}

}  // namespace

void DriftGuard::wrote(ForeignWrite write, Time now) {
    tick(now);
    ++writes_;
    last_write_ = now;
    std::string writer = writer_name(write);
    if (writers_.size() >= kWritersKept && !writers_.contains(writer)) writer = "others";
    ++writers_[writer];
    const bool first = gathered_.empty();
    if (gathered_.size() >= kWritesGathered)
        gathered_ = {{family_, 0, {}, fmt::format("more than {}", plural(kWritesGathered, "change")), nullptr}};
    gathered_.push_back(std::move(write));
    if (!first) return;
    repair_at_ = now + settings_.gather;
    if (alarm()) repair_at_ = std::max(repair_at_, not_before_);
}

std::optional<DriftGuard::Time> DriftGuard::due() const {
    if (!gathered_.empty()) return repair_at_;
    if (last_write_) return *last_write_ + settings_.calm;
    return std::nullopt;
}

std::string DriftGuard::writers_text() const {
    std::vector<std::pair<std::string, std::uint64_t>> all(writers_.begin(), writers_.end());
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    std::vector<std::string> parts;
    for (const auto& [who, count] : all) {
        if (parts.size() == kWritersNamed) break;
        parts.push_back(count == 1 ? who : fmt::format("{}, {} times", who, count));
    }
    if (all.size() > kWritersNamed) parts.push_back(fmt::format("{} more", all.size() - kWritersNamed));
    return fmt::format("{}", fmt::join(parts, "; "));
}

std::vector<ForeignWrite> DriftGuard::take(Time now) {
    if (gathered_.empty() || now < repair_at_) return {};
    taken_ = fmt::format("{}: {} by {}", net::family_name(family_), describe(gathered_), writers_text());
    writers_.clear();
    return std::exchange(gathered_, {});
}

void DriftGuard::count_repair(Time now) {
    ++repairs_;
    recent_.push_back(now);
    while (now - recent_.front() > settings_.window) recent_.pop_front();
    if (alarm()) {
        pause_ = std::min(pause_ * 2, settings_.longest_pause);
    } else if (recent_.size() > static_cast<std::size_t>(settings_.prompt_repairs)) {
        pause_ = settings_.first_pause;
        lines_.push_back(
            {log::Level::kError,
             fmt::format("{}: somebody keeps changing our rules: {} within {}; repairs are delayed from now "
                         "on, up to {}, until nobody has written for {}",
                         net::family_name(family_), plural(recent_.size(), "repair"), seconds_text(settings_.window),
                         seconds_text(settings_.longest_pause), seconds_text(settings_.calm))});
    }
    not_before_ = now + pause_;
    // What was written while the repair was under way was due by the pause of before.
    if (alarm() && !gathered_.empty()) repair_at_ = std::max(repair_at_, not_before_);
}

void DriftGuard::repaired(std::uint64_t differences, const std::vector<std::string>& examples, Time now) {
    std::string text = differences == 0 ? fmt::format("{}: nothing differs", taken_)
                                        : fmt::format("{}: repaired {}", taken_, plural(differences, "difference"));
    if (!examples.empty())
        text += fmt::format(" ({}{})", fmt::join(examples, "; "), differences > examples.size() ? "; …" : "");
    count_repair(now);
    if (alarm()) text += fmt::format("; the next repair not before {} from now", seconds_text(pause_));
    lines_.push_back({log::Level::kWarning, std::move(text)});
}

void DriftGuard::failed(const std::string& reason) {
    lines_.push_back({log::Level::kError, fmt::format("{}: cannot be repaired: {}", taken_, reason)});
}

void DriftGuard::tick(Time now) {
    if (!gathered_.empty() || !last_write_ || now - *last_write_ < settings_.calm) return;
    if (alarm())
        lines_.push_back(
            {log::Level::kInfo, fmt::format("{}: nobody has changed our rules for {}; repairs are prompt again",
                                            net::family_name(family_), seconds_text(settings_.calm))});
    last_write_.reset();
    pause_ = {};
    recent_.clear();
}

std::vector<LogLine> DriftGuard::take_lines() { return std::exchange(lines_, {}); }

}  // namespace ghostip::agent

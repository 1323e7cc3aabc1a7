#include "dataplane/iptables/writer.h"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <thread>
#include <utility>

#include <fmt/format.h>

namespace ghostip::dataplane::iptables {

using kernel::iptables::Iptables;
using kernel::iptables::Refusal;
using kernel::iptables::Refused;
using kernel::iptables::TextSource;
using kernel::iptables::Variant;

namespace {

// Texts that are refused while culprits are looked for; more than this is no matter of single service ports.
constexpr std::size_t kMostTries = 300;

std::size_t index_of(Part part) { return static_cast<std::size_t>(part); }

// The words of both variants for a chain or a rule that is not there, or is there already.
bool is_mismatch(const Refusal& refusal) {
    constexpr std::array<std::string_view, 6> kWords{
        "does not exist",       "No such file or directory", "No chain/target/match by that name",
        "does a matching rule", "Chain already exists",      "File exists"};
    return std::any_of(kWords.begin(), kWords.end(),
                       [&](std::string_view words) { return refusal.reason.find(words) != std::string::npos; });
}

std::size_t lines_in(std::string_view text) {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

Result<Refused> restore_patiently(Iptables& iptables, const Limits& limits,
                                  const std::function<TextSource()>& make_text) {
    const auto deadline = std::chrono::steady_clock::now() + limits.lock_wait;
    while (true) {
        ASSIGN_OR_RETURN(auto refused, iptables.restore(make_text()));
        if (!refused || !refused->lock_held) return refused;
        if (std::chrono::steady_clock::now() >= deadline)
            return Error{fmt::format("another program holds the lock of iptables for longer than {} s: a kube-proxy "
                                     "that still runs, a network plugin, a firewall manager? ({})",
                                     std::chrono::duration_cast<std::chrono::seconds>(limits.lock_wait).count(),
                                     refused->reason),
                         EBUSY};
        std::this_thread::sleep_for(limits.lock_pause);
    }
}

Result<Refused> restore_patiently(Iptables& iptables, const Limits& limits, std::string_view text) {
    return restore_patiently(iptables, limits, [text] {
        return [left = text]() mutable { return std::exchange(left, std::string_view()); };
    });
}

// The text of some items, a section at a time. Notes which line is whose.
class Writer::Text {
  public:
    Text(const Items& items, Part from, const EditOf& edit_of, std::vector<Mark>& marks)
        : items_(items), edit_of_(edit_of), marks_(marks), part_(index_of(from)) {
        marks_.clear();
    }

    std::string_view next() {
        while (part_ < kParts) {
            const bool used =
                std::any_of(items_.begin(), items_.end(), [&](const Item& item) { return item.lines[part_] != 0; });
            if (!used) {
                ++part_;
                continue;
            }
            if (!std::exchange(begun_, true)) return give(fmt::format("*{}\n", table_of(part())), std::nullopt);
            while (at_ < items_.size() && items_[at_].lines[part_] == 0) ++at_;
            if (at_ < items_.size()) {
                const auto item = at_++;
                const auto& kept = items_[item].edit;
                return give(kept ? kept->parts[part_] : edit_of_(items_[item].unit).parts[part_], item);
            }
            auto end = give("COMMIT\n", std::nullopt);
            at_ = 0;
            begun_ = false;
            ++part_;
            return end;
        }
        return {};
    }

  private:
    [[nodiscard]] Part part() const { return static_cast<Part>(part_); }
    std::string_view give(std::string text, std::optional<std::size_t> item) {
        marks_.push_back({line_, part(), item});
        line_ += lines_in(text);
        text_ = std::move(text);
        return text_;
    }

    const Items& items_;
    const EditOf& edit_of_;
    std::vector<Mark>& marks_;
    std::size_t part_;
    std::size_t at_ = 0;
    bool begun_ = false;
    std::size_t line_ = 1;
    std::string text_;
};

Result<void> Writer::write(std::size_t count, const EditOf& edit_of, const Done& done) {
    edit_of_ = &edit_of;
    done_ = &done;
    const bool in_pieces = iptables_.variant() == Variant::kNft;
    Items items;
    std::size_t lines = 0;
    for (std::size_t unit = 0; unit < count; ++unit) {
        Edit edit = edit_of(unit);
        if (edit.empty()) {
            done(unit, nullptr);
            continue;
        }
        const std::size_t own = edit.lines();
        if (in_pieces && !items.empty() && lines + own > limits_.lines_at_once) {
            RETURN_IF_ERROR(write_items(std::exchange(items, {}), Part::kFilterIn));
            lines = 0;
        }
        lines += own;
        auto& item = items.emplace_back(Item{unit, {}, std::nullopt});
        for (std::size_t part = 0; part < kParts; ++part) item.lines[part] = lines_in(edit.parts[part]);
        // One text with everything would be kept twice: here and by the program.
        if (in_pieces || lines <= limits_.lines_at_once) item.edit = std::move(edit);
    }
    return write_items(std::move(items), Part::kFilterIn);
}

void Writer::landed(const Items& items, Part from, Part end) {
    for (const auto& item : items)
        for (std::size_t part = index_of(from); part < index_of(end); ++part) {
            if (item.lines[part] == 0) continue;
            const LineCounts counts =
                count_lines(item.edit ? item.edit->parts[part] : (*edit_of_)(item.unit).parts[part]);
            outcome_.elements_added += counts.brought;
            outcome_.elements_deleted += counts.taken;
            (static_cast<Part>(part) == Part::kNat ? written_.nat : written_.filter) +=
                static_cast<std::int64_t>(counts.brought) - static_cast<std::int64_t>(counts.taken);
        }
}

// Each turn ends, or has one item less, or is split; parts that landed before a refusal are not written again.
Result<void> Writer::write_items(Items items, Part from) {
    constexpr auto kEnd = static_cast<Part>(kParts);
    while (true) {
        const bool anything = std::any_of(items.begin(), items.end(), [&](const Item& item) {
            return std::any_of(item.lines.begin() + static_cast<std::ptrdiff_t>(index_of(from)), item.lines.end(),
                               [](std::size_t lines) { return lines != 0; });
        });
        Refused refused;
        std::vector<Mark> marks;
        if (anything) {
            const auto start = std::chrono::steady_clock::now();
            ASSIGN_OR_RETURN(refused, restore_patiently(iptables_, limits_, [&] {
                                 auto text = std::make_shared<Text>(items, from, *edit_of_, marks);
                                 return [text] { return text->next(); };
                             }));
            if (!refused) outcome_.committed(start);
        }
        if (!refused) {
            landed(items, from, kEnd);
            for (const auto& item : items) (*done_)(item.unit, nullptr);
            return {};
        }
        const Error error{fmt::format("iptables refuses what should be written: {}", refused->reason), 0};
        if (refused->line == 0 || ++tries_ > kMostTries) return error;
        const auto after = std::upper_bound(marks.begin(), marks.end(), refused->line,
                                            [](std::size_t line, const Mark& mark) { return line < mark.line; });
        if (after == marks.begin()) return error;
        const Mark& mark = *std::prev(after);
        landed(items, from, mark.part);
        from = mark.part;
        if (mismatch_ == Mismatch::kError && (is_mismatch(*refused) || from == Part::kFilterOut))
            return Error{fmt::format("iptables does not hold what was written before: {}", refused->reason), ENOENT};
        const auto culprit = items.size() == 1 ? std::optional<std::size_t>(0) : mark.item;
        if (culprit) {
            RETURN_IF_ERROR(refuse(items[*culprit], from, *refused));
            items.erase(items.begin() + static_cast<std::ptrdiff_t>(*culprit));
            continue;
        }
        const auto middle = items.begin() + static_cast<std::ptrdiff_t>(items.size() / 2);
        Items second(std::make_move_iterator(middle), std::make_move_iterator(items.end()));
        items.erase(middle, items.end());
        RETURN_IF_ERROR(write_items(std::move(items), from));
        items = std::move(second);
    }
}

// Refusals that came for its sake go again: what it had before answers.
Result<void> Writer::refuse(const Item& item, Part part, const Refusal& refusal) {
    if (part == Part::kNat && item.lines[index_of(Part::kFilterIn)] != 0) {
        const std::string came =
            item.edit ? item.edit->in(Part::kFilterIn) : (*edit_of_)(item.unit).in(Part::kFilterIn);
        std::string undo = "*filter\n";
        std::string_view left = came;
        while (!left.empty()) {
            const auto end = std::min(left.find('\n'), left.size() - 1) + 1;
            if (left.starts_with("-I ")) undo.append("-D ").append(left.substr(3, end - 3));
            left.remove_prefix(end);
        }
        undo += "COMMIT\n";
        ASSIGN_OR_RETURN(const auto refused, restore_patiently(iptables_, limits_, undo));
        if (refused) return Error{fmt::format("iptables: {}", refused->reason), ENOENT};
        const auto counts = count_lines(undo);
        written_.filter -= static_cast<std::int64_t>(counts.taken);
        outcome_.elements_deleted += counts.taken;
    }
    (*done_)(item.unit, &refusal);
    return {};
}

}  // namespace ghostip::dataplane::iptables

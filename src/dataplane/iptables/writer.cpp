#include "dataplane/iptables/writer.h"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <memory>
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

// Without the lines that declare chains.
std::string only_rules(const std::string& text) {
    std::string rules;
    rules.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const auto end = std::min(text.find('\n', at), text.size() - 1) + 1;
        if (text[at] != ':') rules.append(text, at, end - at);
        at = end;
    }
    return rules;
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
    Text(const Items& items, Part from, const Work& work, Variant variant, std::vector<Mark>& marks)
        : items_(items),
          work_(work),
          marks_(marks),
          chains_first_(variant == Variant::kLegacy && work.chains),
          part_(index_of(from)) {
        marks_.clear();
    }

    std::string_view next() {
        while (part_ < kParts) {
            if (!begun_ && !is_used()) {
                ++part_;
                continue;
            }
            if (!std::exchange(begun_, true)) {
                if (chains_first_ && part() == Part::kNat) chains_ = work_.chains();
                return give(fmt::format("*{}\n", table_of(part())), std::nullopt);
            }
            if (chains_) {
                if (auto text = some_chains(); !text.empty()) return give(std::move(text), std::nullopt);
                chains_ = nullptr;
            }
            while (at_ < items_.size()) {
                const auto item = at_++;
                if (auto text = text_of(items_[item]); !text.empty()) return give(std::move(text), item);
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
    static constexpr std::size_t kEnough = 16384;

    [[nodiscard]] Part part() const { return static_cast<Part>(part_); }
    [[nodiscard]] bool is_used() const {
        return std::any_of(items_.begin(), items_.end(),
                           [&](const Item& item) { return item.counts.in(part()).lines != 0; });
    }
    [[nodiscard]] std::string text_of(const Item& item) const {
        if (item.counts.in(part()).lines == 0) return {};
        std::string text;
        if (item.edit)
            text = item.edit->in(part());
        else
            text = std::move(work_.edit_of(item.unit).in(part()));
        return chains_first_ && part() == Part::kNat ? only_rules(text) : text;
    }
    // Of these items, which are in the order of their units.
    [[nodiscard]] std::string some_chains() {
        std::string text;
        while (text.size() < kEnough) {
            const auto chain = chains_();
            if (!chain) break;
            const auto item = std::lower_bound(items_.begin(), items_.end(), chain->unit,
                                               [](const Item& one, std::size_t unit) { return one.unit < unit; });
            if (item != items_.end() && item->unit == chain->unit) declare_chain(text, chain->name);
        }
        return text;
    }
    std::string_view give(std::string text, std::optional<std::size_t> item) {
        marks_.push_back({line_, part(), item});
        line_ += static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
        text_ = std::move(text);
        return text_;
    }

    const Items& items_;
    const Work& work_;
    std::vector<Mark>& marks_;
    const bool chains_first_;
    std::size_t part_;
    ChainSource chains_;  // those that are still to be declared
    std::size_t at_ = 0;
    bool begun_ = false;
    std::size_t line_ = 1;
    std::string text_;
};

Result<void> Writer::write(const Work& work) {
    work_ = &work;
    const bool in_pieces = iptables_.variant() == Variant::kNft;
    Items items;
    if (!in_pieces) items.reserve(work.units);
    std::size_t lines = 0;
    for (std::size_t unit = 0; unit < work.units; ++unit) {
        Item item{unit, {}, nullptr};
        if (work.counts_of) {
            item.counts = work.counts_of(unit);
        } else {
            auto edit = std::make_unique<const Edit>(work.edit_of(unit));
            item.counts = count_edit(*edit);
            // One text with everything would be kept twice: here and by the program.
            if (in_pieces || lines + item.counts.lines() <= limits_.lines_at_once) item.edit = std::move(edit);
        }
        const std::size_t own = item.counts.lines();
        if (own == 0) {
            work.done(unit, nullptr);
            continue;
        }
        if (in_pieces && !items.empty() && lines + own > limits_.lines_at_once) {
            RETURN_IF_ERROR(write_items(std::exchange(items, {}), Part::kFilterIn));
            lines = 0;
        }
        lines += own;
        items.push_back(std::move(item));
    }
    return write_items(std::move(items), Part::kFilterIn);
}

void Writer::landed(const Items& items, Part from, Part end) {
    for (const auto& item : items)
        for (std::size_t part = index_of(from); part < index_of(end); ++part) {
            const auto& counts = item.counts.parts[part];
            outcome_.elements_added += counts.brought;
            outcome_.elements_deleted += counts.taken;
            (static_cast<Part>(part) == Part::kNat ? written_.nat : written_.filter) +=
                std::int64_t{counts.brought} - std::int64_t{counts.taken};
        }
}

// Each turn ends, or has one item less, or is split; parts that landed before a refusal are not written again.
Result<void> Writer::write_items(Items items, Part from) {
    constexpr auto kEnd = static_cast<Part>(kParts);
    while (true) {
        const bool anything = std::any_of(items.begin(), items.end(), [&](const Item& item) {
            const auto& parts = item.counts.parts;
            return std::any_of(parts.begin() + static_cast<std::ptrdiff_t>(index_of(from)), parts.end(),
                               [](const LineCounts& counts) { return counts.lines != 0; });
        });
        Refused refused;
        std::vector<Mark> marks;
        if (anything) {
            const auto start = std::chrono::steady_clock::now();
            ASSIGN_OR_RETURN(refused, restore_patiently(iptables_, limits_, [&] {
                                 auto text = std::make_shared<Text>(items, from, *work_, iptables_.variant(), marks);
                                 return [text] { return text->next(); };
                             }));
            if (!refused) outcome_.committed(start);
        }
        if (!refused) {
            landed(items, from, kEnd);
            for (const auto& item : items) work_->done(item.unit, nullptr);
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
    if (part == Part::kNat && item.counts.in(Part::kFilterIn).lines != 0) {
        const std::string came =
            item.edit ? item.edit->in(Part::kFilterIn) : work_->edit_of(item.unit).in(Part::kFilterIn);
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
    work_->done(item.unit, &refusal);
    return {};
}

}  // namespace ghostip::dataplane::iptables

// Writes edits through iptables-restore: in texts of a size that suits the variant, made while the program reads them.
//
// A unit (a service port, or several that go together) is written as a whole or not at all, table by table. One that
// the kernel refuses is found by the line that the program names, else by halves; what it had before stays, and the
// others go on. Who holds the lock of iptables is waited for.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/iptables/edit.h"
#include "kernel/iptables/iptables.h"

namespace ghostip::dataplane::iptables {

// iptables-nft-restore needs time for the square of a text's lines: 43,000 rules take 3.5 s in one text and 0.6 s in
// texts of this size.
inline constexpr std::size_t kLinesAtOnce = 2500;

struct Limits {
    // In one text of iptables-nft; iptables-legacy copies the whole table for each text, so that it gets one only.
    std::size_t lines_at_once = kLinesAtOnce;
    // For another program's lock, on top of what the program itself waits.
    std::chrono::milliseconds lock_wait{std::chrono::seconds(30)};
    std::chrono::milliseconds lock_pause{200};
};

// What to do where the kernel does not hold what an edit relies on (a rule to delete, a chain to jump to).
enum class Mismatch : std::uint8_t {
    kError,     // error ENOENT, so that the caller looks
    kSetAside,  // it was looked at, and still: that unit is refused
};

// Takes the text when nobody else holds the lock. Error EBUSY: somebody did for too long.
[[nodiscard]] Result<kernel::iptables::Refused> restore_patiently(
    kernel::iptables::Iptables& iptables, const Limits& limits,
    const std::function<kernel::iptables::TextSource()>& make_text);
[[nodiscard]] Result<kernel::iptables::Refused> restore_patiently(kernel::iptables::Iptables& iptables,
                                                                  const Limits& limits, std::string_view text);

// Rules that were written, less those that were deleted one by one.
struct Written {
    std::int64_t nat = 0;
    std::int64_t filter = 0;
};

// Units 0 to `units` - 1, to be written in this order.
struct Work {
    std::size_t units;
    std::function<Edit(std::size_t unit)> edit_of;  // may be asked more than once for the same
    // What edit_of() brings, known without making it; then it is made while a program reads. Null: it is made first.
    std::function<EditCounts(std::size_t unit)> counts_of = nullptr;
    // Makes a source of all chains that the edits declare, in the order that suits iptables-legacy, which gets them in
    // front of all rules. Null: they are declared where their rules are.
    std::function<ChainSource()> chains = nullptr;
    // Each unit is reported once. `refusal` is null: it is in the kernel.
    std::function<void(std::size_t unit, const kernel::iptables::Refusal* refusal)> done;
};

class Writer {
  public:
    // Counts into `outcome` and `written`.
    Writer(kernel::iptables::Iptables& iptables, const Limits& limits, Mismatch mismatch, Outcome& outcome,
           Written& written)
        : iptables_(iptables), limits_(limits), mismatch_(mismatch), outcome_(outcome), written_(written) {}

    [[nodiscard]] Result<void> write(const Work& work);

  private:
    struct Item {
        std::size_t unit;
        EditCounts counts;
        std::unique_ptr<const Edit> edit;  // null: made when it is needed, as it would be too much to keep
    };
    using Items = std::vector<Item>;
    // Where a section of a text begins.
    struct Mark {
        std::size_t line;
        Part part;
        std::optional<std::size_t> item;  // absent: a line around them
    };
    class Text;

    [[nodiscard]] Result<void> write_items(Items items, Part from);
    [[nodiscard]] Result<void> refuse(const Item& item, Part part, const kernel::iptables::Refusal& refusal);
    void landed(const Items& items, Part from, Part end);

    kernel::iptables::Iptables& iptables_;
    const Limits limits_;
    const Mismatch mismatch_;
    Outcome& outcome_;
    Written& written_;
    const Work* work_ = nullptr;  // while write() runs
    std::size_t tries_ = 0;
};

}  // namespace ghostip::dataplane::iptables

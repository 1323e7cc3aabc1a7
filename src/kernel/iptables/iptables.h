// iptables of one family through its own programs: read a table as text, write a text. linux.h runs the programs,
// memory.h is their twin in memory; who uses the interface cannot tell them apart.
//
// Blocks for as long as the programs take, which can be seconds. Not thread-safe, but two instances may be used at the
// same time: the programs lock among themselves. For the network namespace that the calling thread is in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"

namespace ghostip::kernel::iptables {

// Which part of the kernel keeps the rules: nf_tables, or the older x_tables. A packet meets the rules of both.
enum class Variant : std::uint8_t { kNft, kLegacy };
[[nodiscard]] std::string_view variant_name(Variant variant);  // "nft", "legacy"

inline constexpr std::size_t kLongestChain = 28;  // characters of a chain's name

struct Version {
    int major = 0;
    int minor = 0;
    int patch = 0;

    friend auto operator<=>(const Version&, const Version&) = default;
};

// The kernel or the program did not take a text. Tables of it that were committed before stay committed.
struct Refusal {
    std::string reason;      // what the program said, on one line
    std::size_t line = 0;    // 1-based, in the text; 0: it does not say which
    bool lock_held = false;  // another program held the lock for longer than was waited: try again

    friend bool operator==(const Refusal&, const Refusal&) = default;
};
// Absent: all was taken.
using Refused = std::optional<Refusal>;

// Gives the text piece by piece; an empty piece is the end.
using TextSource = std::function<std::string_view()>;
// Gets one line at a time, without its end.
using LineSink = std::function<void(std::string_view line)>;

class Iptables {
  public:
    virtual ~Iptables() = default;

    [[nodiscard]] virtual net::Family family() const = 0;
    [[nodiscard]] virtual Variant variant() const = 0;
    [[nodiscard]] virtual Version version() const = 0;

    // What a table ("nat") holds, in the form of iptables-save without counters: `:CHAIN POLICY [0:0]` for each chain,
    // then the rules, those of a chain together. Lines of comments, of the table and COMMIT are left out. A table that
    // does not exist yet has no lines, and is not created by being asked for.
    [[nodiscard]] virtual Result<void> save(std::string_view table, const LineSink& line) = 0;

    // Takes a text for iptables-restore --noflush: one or more of `*table` ... `COMMIT`, each of which is taken as a
    // whole or not at all; `:CHAIN - [0:0]` creates or empties a chain, chains that are not named stay. Waits a few
    // seconds for the lock.
    // Error: the program cannot be run, or did not end in time; then nobody knows what was taken.
    [[nodiscard]] virtual Result<Refused> restore(const TextSource& text) = 0;
    [[nodiscard]] Result<Refused> restore(std::string_view text);

    // False: there is no such chain. Quick where it can be: reads that chain only. Error EBUSY: the lock was held.
    [[nodiscard]] virtual Result<bool> has_chain(std::string_view table, std::string_view chain) = 0;
};

}  // namespace ghostip::kernel::iptables

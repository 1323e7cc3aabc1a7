// How iptables-save writes the values of a rule, from what a person or a program wrote in its place: prefixes,
// protocols, and what the options of extensions have behind them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/address.h"
#include "net/prefix.h"

namespace ghostip::kernel::iptables {

// How the value of an option is saved.
enum class ValueForm : std::uint8_t {
    kAsIs,
    kNone,  // the option has no value
    kPair,  // two of them, as they are
    kQuoted,
    kAfterTwoSpaces,
    kPorts,  // `80`, `80:90`
    kProbability,
    kStates,        // of conntrack, in its order
    kAddressTypes,  // of addrtype, in its order
    kMark,          // hexadecimal; a mask of all bits is left out
    kSyn,           // no value; saved as the flags that it stands for
    // The ways to change a mark, all saved as the first one.
    kSetXmark,
    kSetMark,
    kOrMark,
    kXorMark,
    kAndMark,
};

// Appends a value in its form; one that has not got it is appended as it is.
void append_value(std::string& out, ValueForm form, std::string_view value);

// An address with or without a length or a mask. Absent: of the other family, a name, a mask with holes.
[[nodiscard]] std::optional<net::Prefix> parse_prefix(std::string_view text, net::Family family);

// The name of a protocol as it is saved; empty: every protocol, which is not saved.
[[nodiscard]] std::string protocol_text(std::string_view text);

}  // namespace ghostip::kernel::iptables

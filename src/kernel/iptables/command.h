// One line of a text for iptables-restore, understood. For the twin in memory: only what both variants take or refuse
// in the same way without asking what a table holds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/address.h"

namespace ghostip::kernel::iptables {

struct Command {
    enum class Kind : std::uint8_t {
        kDeclare,  // `:CHAIN POLICY`: creates, or empties a chain that is not built in
        kAppend,
        kInsert,
        kReplace,
        kDelete,
        kDeleteNumber,
        kFlush,  // without a chain: all of them
        kNew,
        kRemove,  // -X; without a chain: all that are not built in
        kPolicy,
        kZero,  // counters, which the twin has not got
    };

    Kind kind = Kind::kZero;
    std::size_t line = 0;
    std::string chain;
    std::string policy;      // "ACCEPT", "DROP"; "-": none
    std::size_t number = 0;  // of kInsert, kReplace and kDeleteNumber, from 1
    std::string rule;        // as it is saved, behind the name of its chain: " -s 10.0.0.1/32 -j DROP"
    std::string target;      // a chain, an extension or a verdict; empty: none
    bool go_to = false;      // -g: certainly a chain
    bool unwanted = false;   // a test told the kernel to refuse it; not parsed
};

// Error: what the parser of the programs would refuse.
[[nodiscard]] Result<Command> parse_command(std::string_view line, net::Family family);

}  // namespace ghostip::kernel::iptables

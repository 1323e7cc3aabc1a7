// nf_tables objects as values: what a table may hold, in the kernel's own terms. No Kubernetes word in here.
//
// Registers are counted in 32-bit words, 0 to 15 (NFT_REG32_00 onwards); keys that span several fields pad each field
// to whole words, as the kernel's concatenations do.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "net/address.h"

namespace ghostip::kernel::nft {

// One field of a set's key or of a map's data.
enum class Field : std::uint8_t {
    kAddress,   // ipv4_addr or ipv6_addr, by the table's family
    kProtocol,  // inet_proto, 1 byte
    kPort,      // inet_service, 2 bytes in network order
    kNumber,    // what `numgen` yields: 4 bytes in host order
};

// Bytes of a field as stored, padded to whole words.
[[nodiscard]] std::size_t field_size(Field field, net::Family family);
[[nodiscard]] std::size_t fields_size(const std::vector<Field>& fields, net::Family family);
// Bytes of a key or of data as the kernel keeps it: one field alone keeps its own size, several are padded.
[[nodiscard]] std::size_t stored_size(const std::vector<Field>& fields, net::Family family);

struct Set {
    std::string name = {};
    std::vector<Field> key = {};
    std::vector<Field> data = {};       // not empty: a map
    std::uint32_t timeout_seconds = 0;  // not 0: elements expire, and rules may add them
    std::uint32_t size = 0;             // limit of elements; 0 = none
    std::string comment = {};
    bool counts = false;  // each element counts the packets, and their bytes, that were looked up and found in it

    friend bool operator==(const Set&, const Set&) = default;
};

enum class Hook : std::uint8_t { kPrerouting, kInput, kForward, kOutput, kPostrouting };
enum class ChainType : std::uint8_t { kFilter, kNat };

struct BaseChain {
    ChainType type = ChainType::kFilter;
    Hook hook = Hook::kPrerouting;
    std::int32_t priority = 0;

    friend bool operator==(const BaseChain&, const BaseChain&) = default;
};

// --- expressions, one for each kernel expression that is used -------------------------------------------------------

using Bytes = std::vector<std::uint8_t>;

struct Payload {
    enum class Base : std::uint8_t { kNetwork, kTransport };
    Base base;
    std::uint32_t offset;
    std::uint32_t length;
    std::uint8_t reg;
    friend bool operator==(const Payload&, const Payload&) = default;
};
enum class MetaKey : std::uint8_t { kL4Protocol, kMark, kInputInterfaceName };
struct Meta {
    MetaKey key;
    std::uint8_t reg;
    bool write = false;
    friend bool operator==(const Meta&, const Meta&) = default;
};
enum class CtKey : std::uint8_t { kState, kStatus, kOriginalSource, kOriginalDestination, kOriginalDestinationPort };
struct Ct {
    CtKey key;
    std::uint8_t reg;
    friend bool operator==(const Ct&, const Ct&) = default;
};
struct Compare {
    bool equal;
    std::uint8_t reg;
    Bytes value;
    friend bool operator==(const Compare&, const Compare&) = default;
};
// reg = (reg & mask) ^ flip
struct Bitwise {
    std::uint8_t reg;
    Bytes mask;
    Bytes flip;
    friend bool operator==(const Bitwise&, const Bitwise&) = default;
};
struct Lookup {
    std::string set;
    std::uint8_t key_reg;
    std::optional<std::uint8_t> data_reg;  // maps only
    friend bool operator==(const Lookup&, const Lookup&) = default;
};
struct FibType {  // address type of the packet's source or destination
    bool source;
    std::uint8_t reg;
    friend bool operator==(const FibType&, const FibType&) = default;
};
struct RandomNumber {
    std::uint32_t modulus;
    std::uint8_t reg;
    friend bool operator==(const RandomNumber&, const RandomNumber&) = default;
};
struct Dnat {
    std::uint8_t address_reg;
    std::uint8_t port_reg;
    friend bool operator==(const Dnat&, const Dnat&) = default;
};
struct Masquerade {  // with fully random ports
    friend bool operator==(const Masquerade&, const Masquerade&) = default;
};
struct Reject {  // ICMP port unreachable
    friend bool operator==(const Reject&, const Reject&) = default;
};
struct UpdateMap {  // adds or refreshes an element from registers
    std::string map;
    std::uint8_t key_reg;
    std::uint8_t data_reg;
    friend bool operator==(const UpdateMap&, const UpdateMap&) = default;
};
struct Verdict {
    enum class Kind : std::uint8_t { kAccept, kDrop, kReturn, kJump, kGoto };
    Kind kind;
    std::string chain;  // kJump, kGoto
    friend bool operator==(const Verdict&, const Verdict&) = default;
};

// Something in a rule that is none of the above: only ever read, never written.
struct Foreign {
    std::string name;  // the kernel's name of the expression, with what is odd about it
    friend bool operator==(const Foreign&, const Foreign&) = default;
};

using Expression = std::variant<Payload, Meta, Ct, Compare, Bitwise, Lookup, FibType, RandomNumber, Dnat, Masquerade,
                                Reject, UpdateMap, Verdict, Foreign>;

struct Rule {
    std::vector<Expression> expressions;
    std::string text;     // as nft would write it
    std::string comment;  // for who lists the ruleset; may be empty

    friend bool operator==(const Rule&, const Rule&) = default;
};

// Equal in all that the kernel keeps; it does not keep the text.
[[nodiscard]] bool same_in_kernel(const Rule& a, const Rule& b);

struct Chain {
    std::string name;
    std::optional<BaseChain> base;  // absent: only reached by jump or goto
    std::vector<Rule> rules;

    friend bool operator==(const Chain&, const Chain&) = default;
};

[[nodiscard]] bool same_in_kernel(const Chain& a, const Chain& b);

struct Table {
    net::Family family = net::Family::kIpv4;
    std::string name;
    std::string comment;

    friend bool operator==(const Table&, const Table&) = default;
};

// --- text, in nft's own syntax --------------------------------------------------------------------------------------

[[nodiscard]] std::string to_text(const Set& set, net::Family family);  // without elements, indented by a tab
[[nodiscard]] std::string to_text(const Chain& chain);                  // indented by a tab

}  // namespace ghostip::kernel::nft

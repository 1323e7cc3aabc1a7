// IP sets of a network namespace: what rules ask "is this address and port in it?". Sets of five types can be made and
// filled; those of other types are listed by name and left alone. Elements have neither timeouts, counters nor
// comments.
//
// The kernel has no transactions: each element is taken or refused by itself. Owned by one thread.
#pragma once

#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "net/address.h"
#include "net/prefix.h"
#include "net/protocol.h"

namespace ghostip::kernel::ipset {

enum class Type : std::uint8_t {
    kIpPort,     // hash:ip,port
    kIpPortIp,   // hash:ip,port,ip
    kIpPortNet,  // hash:ip,port,net
    kIp,         // hash:ip
    kPort,       // bitmap:port, of all 65536 ports
};
inline constexpr std::array<Type, 5> kTypes{Type::kIpPort, Type::kIpPortIp, Type::kIpPortNet, Type::kIp, Type::kPort};
[[nodiscard]] std::string_view type_name(Type type);
[[nodiscard]] std::optional<Type> parse_type(std::string_view name);

inline constexpr std::size_t kLongestName = 31;

struct Definition {
    std::string name;  // at most kLongestName bytes
    Type type = Type::kIpPort;
    net::Family family = net::Family::kIpv4;  // a set of ports has none
    std::uint32_t hash_size = 1024;           // buckets at first; the kernel rounds up to a power of two, and grows
    std::uint32_t most_elements = 65536;      // but this never grows

    friend bool operator==(const Definition&, const Definition&) = default;
};

// What the type has no place for must be as it is by default.
struct Element {
    net::IpAddress address;
    net::Protocol protocol = net::Protocol{};
    std::uint16_t port = 0;
    // kIpPortIp: a whole address; kIpPortNet: a range of at least one bit. The range of all addresses is two elements,
    // one for each half: the kernel takes no range of length 0.
    std::optional<net::Prefix> other;

    friend auto operator<=>(const Element&, const Element&) = default;
};
// As ipset prints it: "10.0.0.1,tcp:80,10.0.0.0/24".
[[nodiscard]] std::string text(Type type, const Element& element);

struct Header {
    std::string name;
    std::string type_name;
    std::optional<Type> type;           // absent: a type that is not spoken here
    std::optional<net::Family> family;  // absent: none
    std::uint32_t hash_size = 0;        // as it is now; 0 where the type has none, so too the next
    std::uint32_t most_elements = 0;
    std::uint32_t references = 0;  // rules and sets that use it
    std::uint32_t elements = 0;
};

struct Contents {
    Header header;
    std::vector<Element> elements;  // in no order; none of a type that is not spoken here
};

struct Refusal {
    std::size_t element = 0;  // which, from 0
    Error error;              // names it
};

class Sets {
  public:
    virtual ~Sets() = default;

    // A set of that name, type, family and most elements that is there already is fine, empty or not. EEXIST: there is
    // another one. ENOENT: the kernel has no such type. The size of its hash does not matter.
    [[nodiscard]] virtual Result<void> create(const Definition& definition) = 0;
    // All sets, without elements, sorted by name.
    [[nodiscard]] virtual Result<std::vector<Header>> headers() = 0;
    // Absent: there is no such set.
    [[nodiscard]] virtual Result<std::optional<Contents>> contents(const std::string& name) = 0;
    // Elements into the set and out of it. One that is there already, or not there, is no refusal. ENOSPC: the set is
    // full. EINVAL: not an element of the type. An error: there is no such set (ENOENT), or it is not known what was
    // done.
    [[nodiscard]] virtual Result<std::vector<Refusal>> add(const std::string& name, Type type,
                                                           std::span<const Element> elements) = 0;
    [[nodiscard]] virtual Result<std::vector<Refusal>> remove(const std::string& name, Type type,
                                                              std::span<const Element> elements) = 0;
    // Two sets of the same type and family exchange their elements; what uses them stays. ENOENT: one is not there.
    [[nodiscard]] virtual Result<void> swap(const std::string& one, const std::string& other) = 0;
    // False: it was not there. EBUSY: something uses it.
    [[nodiscard]] virtual Result<bool> destroy(const std::string& name) = 0;
};

// Sets of which a rule has only just let go are busy for a moment (EBUSY). All that one of these destroys together are
// waited for up to two seconds, whatever holds them.
class Patience {
  public:
    explicit Patience(std::function<void(std::chrono::milliseconds)> pause) : pause_(std::move(pause)) {}
    // As `destroy` says, which is called again while it says EBUSY.
    [[nodiscard]] Result<bool> destroy(const std::function<Result<bool>()>& destroy);

  private:
    const std::function<void(std::chrono::milliseconds)> pause_;
    int pauses_left_ = 20;
};

}  // namespace ghostip::kernel::ipset

// Requests to ip_set as netlink messages, and answers as values. Bytes only; no kernel. What cannot be read as what it
// should be is no value.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernel/ipset/ipset.h"
#include "kernel/netlink/batch.h"

namespace ghostip::kernel::ipset {

enum class Verb : std::uint8_t { kAdd, kRemove };

struct Revisions {
    std::uint8_t least = 0;
    std::uint8_t most = 0;
};
// Which revision of a type a set is made with, so that programs as old as Debian 11's ipset can list it: what the
// kernel knows, but at most the last that came with Linux 3.18. Later ones have nothing that is used here.
[[nodiscard]] std::uint8_t revision_of(Type type, Revisions known);

// Names longer than kLongestName are cut behind the first byte too much, which the kernel refuses.
nlmsghdr* put_protocol(netlink::Request& request);
nlmsghdr* put_type(netlink::Request& request, Type type, net::Family family);
enum class IfThere : std::uint8_t {
    kRefuse,
    // Take one of the same type, most elements and extensions. ip_set looks at the family only by chance: of hash:ip
    // the default length of a mask differs.
    kTakeSimilar,
};
nlmsghdr* put_create(netlink::Request& request, const Definition& definition, std::uint8_t revision, IfThere if_there);
nlmsghdr* put_header(netlink::Request& request, const std::string& name);
nlmsghdr* put_list(netlink::Request& request);
nlmsghdr* put_list_one(netlink::Request& request, const std::string& name);
nlmsghdr* put_swap(netlink::Request& request, const std::string& one, const std::string& other);
nlmsghdr* put_destroy(netlink::Request& request, const std::string& name);
// As many of the elements, from `first` on, as one message holds. `next`: the first that it does not. An element is
// known by its place in the whole list plus one, its line.
nlmsghdr* put_elements(netlink::Request& request, Verb verb, const std::string& name, Type type,
                       std::span<const Element> elements, std::size_t first, std::size_t& next);

// The line that a refusal of put_elements() is about; absent: it is about the whole message.
[[nodiscard]] std::optional<std::uint32_t> refused_line(const nlmsghdr* answer);
// ip_set has numbers of its own above those of errno; here they become errno values.
[[nodiscard]] int errno_of(int code);

// The kernel's versions of the protocol: the least and the most.
[[nodiscard]] std::optional<Revisions> read_protocol(const nlmsghdr* message);
[[nodiscard]] std::optional<Revisions> read_type(const nlmsghdr* message);
// A list comes in parts: the first of a set has its header, each has some elements. False: it cannot be read.
[[nodiscard]] bool read_part(const nlmsghdr* message, std::vector<Contents>& sets);

}  // namespace ghostip::kernel::ipset

// The IPv6 twin of an IPv4 address, so that one description of a world serves both families.
//
//     192.168.0.2        2001:db8::1             the node's own address
//     192.168.A.B        2001:db8:A::B           its other addresses and its neighbourhood; digits kept as they read
//     10.0.0.0/8         fd00:10::/64            pods; 10.a.b.c is fd00:10:: with the IPv4 address in the last 32 bits
//     172.30.0.0/16      fd00:172::ac1e:0/112    services, likewise
//     203.0.113.0/24     2001:db8:203::cb00:7100/120  outside clients, likewise
//     anything else      2001:db8:ffff::/96      likewise
//     0.0.0.0/0          ::/0
//
// A range keeps its host bits (so /25 is /121), but for 192.168.A.0/24, which is 2001:db8:A::/64, and the two above.
#pragma once

#include <string>
#include <string_view>

#include "net/address.h"
#include "net/prefix.h"

namespace ghostip::testnet {

[[nodiscard]] net::IpAddress twin(const net::IpAddress& ipv4);
[[nodiscard]] net::Prefix twin(const net::Prefix& ipv4);
// Every IPv4 address and range in a text (leading zeros allowed), and the words `IPv4`.
[[nodiscard]] std::string twin_text(std::string_view text);
// `address`, or its twin where the family is IPv6.
[[nodiscard]] net::IpAddress in_family(net::Family family, std::string_view ipv4);

}  // namespace ghostip::testnet

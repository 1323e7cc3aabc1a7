// The small pieces of which the text of a rule is made: numbers, addresses, quotes, as iptables-save writes them. All
// append to the caller's string and allocate nothing of their own. Not for whole rules: rule_text.h, canonical.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "net/address.h"
#include "net/prefix.h"

namespace ghostip::kernel::iptables {

void append_decimal(std::string& out, std::uint64_t value);
void append_hexadecimal(std::string& out, std::uint32_t value);  // "0x4000"

void append_address(std::string& out, const net::IpAddress& address);
void append_prefix(std::string& out, const net::Prefix& prefix);  // always with its length
// "10.0.0.1:80", "[fd00::1]:80"
void append_host_port(std::string& out, const net::IpAddress& address, std::uint16_t port);

// A text of the extensions that quote (comment): bare if it has letters, digits, `-` and `_` only. The end of a line,
// which no rule can hold, becomes a space.
void append_quoted(std::string& out, std::string_view text);
// A word that is written as it is, in quotes only if it would not be one word otherwise.
void append_word(std::string& out, std::string_view word);

// 1/choices with ten decimals, rounded as printf does.
void append_share(std::string& out, std::uint32_t choices);
// The kernel's form of a probability (the nearest multiple of 2^-31), with the eleven decimals of iptables-save.
void append_probability(std::string& out, double probability);
[[nodiscard]] double share_as_read(std::uint32_t choices);  // the number that append_share() writes

}  // namespace ghostip::kernel::iptables

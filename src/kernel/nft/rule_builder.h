// Builds a rule: its expressions and its text side by side, so that they cannot tell different stories.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernel/nft/model.h"
#include "net/prefix.h"
#include "net/protocol.h"

namespace ghostip::kernel::nft {

// One part of a look-up key: where a field of the packet, or of its connection, comes from.
struct Selector {
    enum class Kind : std::uint8_t {
        kSource,
        kDestination,
        kProtocol,
        kDestinationPort,
        kRandom,
        kMaskedSource,
        kOriginalSource,
        kOriginalDestination,
        kOriginalDestinationPort,
    };
    Kind kind;
    std::uint32_t number = 0;  // kRandom: modulus; kMaskedSource: prefix length

    friend bool operator==(const Selector&, const Selector&) = default;
};
using Key = std::vector<Selector>;

namespace select {
inline constexpr Selector kSource{Selector::Kind::kSource};
inline constexpr Selector kDestination{Selector::Kind::kDestination};
inline constexpr Selector kProtocol{Selector::Kind::kProtocol};
inline constexpr Selector kDestinationPort{Selector::Kind::kDestinationPort};
inline constexpr Selector kOriginalSource{Selector::Kind::kOriginalSource};
inline constexpr Selector kOriginalDestination{Selector::Kind::kOriginalDestination};
inline constexpr Selector kOriginalDestinationPort{Selector::Kind::kOriginalDestinationPort};
inline Selector random(std::uint32_t modulus) { return {Selector::Kind::kRandom, modulus}; }
inline Selector masked_source(int length) {
    return {Selector::Kind::kMaskedSource, static_cast<std::uint32_t>(length)};
}
}  // namespace select

// a then b
[[nodiscard]] Key operator+(Key a, const Key& b);

class RuleBuilder {
  public:
    explicit RuleBuilder(net::Family family) : family_(family) {}

    // --- matches ---
    RuleBuilder& in_set(const Key& key, std::string_view set);
    RuleBuilder& source(const net::Prefix& prefix, bool equal = true);
    RuleBuilder& destination(const net::Prefix& prefix, bool equal = true);
    RuleBuilder& original_destination(const net::Prefix& prefix, bool equal = true);
    RuleBuilder& input_interface(std::string_view name, bool equal = true);
    RuleBuilder& input_interface_prefix(std::string_view prefix, bool equal = true);
    RuleBuilder& source_is_local();
    RuleBuilder& destination_is_local();
    RuleBuilder& connection_is_new();
    RuleBuilder& connection_is_dnat();
    // Matches the protocol, in the form that every nft prints back (nft 1.0.6 drops `meta l4proto tcp` before a
    // connection's port).
    RuleBuilder& protocol(net::Protocol protocol);
    RuleBuilder& mark_has(std::uint32_t bit);

    // --- statements ---
    RuleBuilder& set_mark(std::uint32_t bit);
    RuleBuilder& clear_mark(std::uint32_t bit);
    // Adds or refreshes `key : destination address . destination port`, as they are in the packet now.
    RuleBuilder& update_map(const Key& key, std::string_view map);

    // --- ends ---
    [[nodiscard]] Rule dnat_from(const Key& key, std::string_view map) &&;
    [[nodiscard]] Rule masquerade() &&;
    [[nodiscard]] Rule reject() &&;
    [[nodiscard]] Rule drop() &&;
    [[nodiscard]] Rule return_() &&;
    [[nodiscard]] Rule jump(std::string_view chain) &&;
    [[nodiscard]] Rule go_to(std::string_view chain) &&;
    [[nodiscard]] Rule done() &&;

    RuleBuilder& comment(std::string_view text);

  private:
    void word(std::string_view text);
    std::string load(const Key& key);  // into registers from 0 on; returns the text
    void load_one(const Selector& selector, std::uint8_t reg, std::string& text);
    void match_prefix(const net::Prefix& prefix, const Selector& selector, bool equal);
    void match_bits(std::uint32_t bits);
    Rule verdict(Verdict::Kind kind, std::string_view name, std::string_view chain);
    [[nodiscard]] std::uint32_t address_bytes() const { return family_ == net::Family::kIpv4 ? 4 : 16; }
    [[nodiscard]] std::string_view ip() const { return family_ == net::Family::kIpv4 ? "ip" : "ip6"; }

    net::Family family_;
    std::string_view transport_ = "th";  // how nft writes the transport header, once the protocol is known
    Rule rule_;
};

}  // namespace ghostip::kernel::nft

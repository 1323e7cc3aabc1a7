#include "kernel/nft/rule_builder.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace ghostip::kernel::nft {
namespace {

constexpr std::uint32_t kAddressTypeLocal = 2;   // RTN_LOCAL
constexpr std::uint32_t kStateNew = 8;           // NF_CT_STATE_BIT(IP_CT_NEW)
constexpr std::uint32_t kStatusDnat = 1U << 5;   // IPS_DST_NAT
constexpr std::size_t kInterfaceNameBytes = 16;  // IFNAMSIZ

Bytes host_order(std::uint32_t value) {
    Bytes bytes(sizeof value);
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
}

Bytes mask_bytes(int length, std::size_t size) {
    Bytes mask(size);
    for (std::size_t i = 0; i < size; ++i)
        mask[i] = static_cast<std::uint8_t>(0xff00U >> std::clamp(length - static_cast<int>(i) * 8, 0, 8));
    return mask;
}

}  // namespace

Key operator+(Key a, const Key& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

void RuleBuilder::word(std::string_view text) {
    if (!rule_.text.empty()) rule_.text += ' ';
    rule_.text += text;
}

void RuleBuilder::load_one(const Selector& selector, std::uint8_t reg, std::string& text) {
    const std::uint32_t source_offset = family_ == net::Family::kIpv4 ? 12 : 8;
    const std::uint32_t destination_offset = family_ == net::Family::kIpv4 ? 16 : 24;
    auto& out = rule_.expressions;
    using Kind = Selector::Kind;
    switch (selector.kind) {
        case Kind::kSource:
        case Kind::kMaskedSource:
            out.emplace_back(Payload{Payload::Base::kNetwork, source_offset, address_bytes(), reg});
            text += fmt::format("{} saddr", ip());
            if (selector.kind == Kind::kMaskedSource) {
                const auto mask = mask_bytes(static_cast<int>(selector.number), address_bytes());
                text += fmt::format(" & {}", net::IpAddress::from_bytes(family_, mask.data()).text());
                out.emplace_back(Bitwise{reg, mask, Bytes(address_bytes())});
            }
            break;
        case Kind::kDestination:
            out.emplace_back(Payload{Payload::Base::kNetwork, destination_offset, address_bytes(), reg});
            text += fmt::format("{} daddr", ip());
            break;
        case Kind::kProtocol:
            out.emplace_back(Meta{MetaKey::kL4Protocol, reg});
            text += "meta l4proto";
            break;
        case Kind::kDestinationPort:
            out.emplace_back(Payload{Payload::Base::kTransport, 2, 2, reg});
            text += fmt::format("{} dport", transport_);
            break;
        case Kind::kRandom:
            out.emplace_back(RandomNumber{selector.number, reg});
            text += fmt::format("numgen random mod {}", selector.number);
            break;
        case Kind::kOriginalSource:
            out.emplace_back(Ct{CtKey::kOriginalSource, reg});
            text += fmt::format("ct original {} saddr", ip());
            break;
        case Kind::kOriginalDestination:
            out.emplace_back(Ct{CtKey::kOriginalDestination, reg});
            text += fmt::format("ct original {} daddr", ip());
            break;
        case Kind::kOriginalDestinationPort:
            out.emplace_back(Ct{CtKey::kOriginalDestinationPort, reg});
            text += "ct original proto-dst";
            break;
    }
}

namespace {

std::uint8_t words_of(const Selector& selector, std::uint32_t address_bytes) {
    switch (selector.kind) {
        case Selector::Kind::kSource:
        case Selector::Kind::kDestination:
        case Selector::Kind::kMaskedSource:
        case Selector::Kind::kOriginalSource:
        case Selector::Kind::kOriginalDestination: return static_cast<std::uint8_t>(address_bytes / 4);
        default: return 1;
    }
}

std::uint8_t words_of(const Key& key, std::uint32_t address_bytes) {
    std::uint8_t words = 0;
    for (const auto& selector : key) words = static_cast<std::uint8_t>(words + words_of(selector, address_bytes));
    return words;
}

}  // namespace

std::string RuleBuilder::load(const Key& key) {
    std::string text;
    std::uint8_t reg = 0;
    for (const auto& selector : key) {
        if (!text.empty()) text += " . ";
        load_one(selector, reg, text);
        reg = static_cast<std::uint8_t>(reg + words_of(selector, address_bytes()));
    }
    return text;
}

RuleBuilder& RuleBuilder::in_set(const Key& key, std::string_view set) {
    const std::string text = load(key);
    rule_.expressions.emplace_back(Lookup{std::string(set), 0, std::nullopt});
    word(fmt::format("{} @{}", text, set));
    return *this;
}

void RuleBuilder::match_prefix(const net::Prefix& prefix, const Selector& selector, bool equal) {
    std::string text;
    load_one(selector, 0, text);
    const bool whole = prefix.length == net::address_bits(family_);
    if (!whole)
        rule_.expressions.emplace_back(Bitwise{0, mask_bytes(prefix.length, address_bytes()), Bytes(address_bytes())});
    const auto bytes = prefix.address.bytes();
    rule_.expressions.emplace_back(Compare{equal, 0, Bytes(bytes.begin(), bytes.end())});
    word(fmt::format("{} {}{}", text, equal ? "" : "!= ", whole ? prefix.address.text() : prefix.text()));
}

RuleBuilder& RuleBuilder::source(const net::Prefix& prefix, bool equal) {
    match_prefix(prefix, select::kSource, equal);
    return *this;
}

RuleBuilder& RuleBuilder::destination(const net::Prefix& prefix, bool equal) {
    match_prefix(prefix, select::kDestination, equal);
    return *this;
}

RuleBuilder& RuleBuilder::original_destination(const net::Prefix& prefix, bool equal) {
    match_prefix(prefix, select::kOriginalDestination, equal);
    return *this;
}

RuleBuilder& RuleBuilder::input_interface(std::string_view name, bool equal) {
    Bytes value(kInterfaceNameBytes);
    std::copy_n(name.begin(), std::min(name.size(), kInterfaceNameBytes - 1), value.begin());
    rule_.expressions.emplace_back(Meta{MetaKey::kInputInterfaceName, 0});
    rule_.expressions.emplace_back(Compare{equal, 0, std::move(value)});
    word(fmt::format("iifname {}\"{}\"", equal ? "" : "!= ", name));
    return *this;
}

RuleBuilder& RuleBuilder::input_interface_prefix(std::string_view prefix, bool equal) {
    const auto length = std::min(prefix.size(), kInterfaceNameBytes - 1);
    rule_.expressions.emplace_back(Meta{MetaKey::kInputInterfaceName, 0});
    rule_.expressions.emplace_back(
        Compare{equal, 0, Bytes(prefix.begin(), prefix.begin() + static_cast<std::ptrdiff_t>(length))});
    word(fmt::format("iifname {}\"{}*\"", equal ? "" : "!= ", prefix));
    return *this;
}

RuleBuilder& RuleBuilder::source_is_local() {
    rule_.expressions.emplace_back(FibType{true, 0});
    rule_.expressions.emplace_back(Compare{true, 0, host_order(kAddressTypeLocal)});
    word("fib saddr type local");
    return *this;
}

RuleBuilder& RuleBuilder::destination_is_local() {
    rule_.expressions.emplace_back(FibType{false, 0});
    rule_.expressions.emplace_back(Compare{true, 0, host_order(kAddressTypeLocal)});
    word("fib daddr type local");
    return *this;
}

void RuleBuilder::match_bits(std::uint32_t bits) {
    rule_.expressions.emplace_back(Bitwise{0, host_order(bits), host_order(0)});
    rule_.expressions.emplace_back(Compare{false, 0, host_order(0)});
}

RuleBuilder& RuleBuilder::connection_is_new() {
    rule_.expressions.emplace_back(Ct{CtKey::kState, 0});
    match_bits(kStateNew);
    word("ct state new");
    return *this;
}

RuleBuilder& RuleBuilder::connection_is_dnat() {
    rule_.expressions.emplace_back(Ct{CtKey::kStatus, 0});
    match_bits(kStatusDnat);
    word("ct status dnat");
    return *this;
}

RuleBuilder& RuleBuilder::protocol(net::Protocol protocol) {
    rule_.expressions.emplace_back(Meta{MetaKey::kL4Protocol, 0});
    rule_.expressions.emplace_back(Compare{true, 0, {static_cast<std::uint8_t>(protocol)}});
    // A field that every packet of the protocol has with another value: a UDP datagram is never shorter than its
    // header, and port 0 is nobody's source.
    const bool udp = protocol == net::Protocol::kUdp;
    rule_.expressions.emplace_back(Payload{Payload::Base::kTransport, udp ? 4U : 0U, 2, 0});
    rule_.expressions.emplace_back(Compare{false, 0, {0, 0}});
    transport_ = net::protocol_lower_name(protocol);
    word(fmt::format("{} {} != 0", transport_, udp ? "length" : "sport"));
    return *this;
}

RuleBuilder& RuleBuilder::mark_has(std::uint32_t bit) {
    rule_.expressions.emplace_back(Meta{MetaKey::kMark, 0});
    match_bits(bit);
    word(fmt::format("meta mark & 0x{:08x} != 0x00000000", bit));
    return *this;
}

RuleBuilder& RuleBuilder::set_mark(std::uint32_t bit) {
    rule_.expressions.emplace_back(Meta{MetaKey::kMark, 0});
    rule_.expressions.emplace_back(Bitwise{0, host_order(~bit), host_order(bit)});
    rule_.expressions.emplace_back(Meta{MetaKey::kMark, 0, true});
    word(fmt::format("meta mark set meta mark | 0x{:08x}", bit));
    return *this;
}

RuleBuilder& RuleBuilder::clear_mark(std::uint32_t bit) {
    rule_.expressions.emplace_back(Meta{MetaKey::kMark, 0});
    rule_.expressions.emplace_back(Bitwise{0, host_order(~bit), host_order(0)});
    rule_.expressions.emplace_back(Meta{MetaKey::kMark, 0, true});
    word(fmt::format("meta mark set meta mark & 0x{:08x}", ~bit));
    return *this;
}

RuleBuilder& RuleBuilder::update_map(const Key& key, std::string_view map) {
    const std::string key_text = load(key);
    std::uint8_t reg = words_of(key, address_bytes());
    const std::uint8_t data_reg = reg;
    std::string data_text;
    load_one(select::kDestination, reg, data_text);
    reg = static_cast<std::uint8_t>(reg + address_bytes() / 4);
    data_text += " . ";
    load_one(select::kDestinationPort, reg, data_text);
    rule_.expressions.emplace_back(UpdateMap{std::string(map), 0, data_reg});
    word(fmt::format("update @{} {{ {} : {} }}", map, key_text, data_text));
    return *this;
}

Rule RuleBuilder::dnat_from(const Key& key, std::string_view map) && {
    const std::string text = load(key);
    rule_.expressions.emplace_back(Lookup{std::string(map), 0, std::uint8_t{0}});
    rule_.expressions.emplace_back(Dnat{0, static_cast<std::uint8_t>(address_bytes() / 4)});
    word(fmt::format("dnat {} to {} map @{}", ip(), text, map));
    return std::move(rule_);
}

Rule RuleBuilder::masquerade() && {
    rule_.expressions.emplace_back(Masquerade{});
    word("masquerade fully-random");
    return std::move(rule_);
}

Rule RuleBuilder::reject() && {
    rule_.expressions.emplace_back(Reject{});
    word("reject");
    return std::move(rule_);
}

Rule RuleBuilder::verdict(Verdict::Kind kind, std::string_view name, std::string_view chain) {
    rule_.expressions.emplace_back(Verdict{kind, std::string(chain)});
    word(chain.empty() ? std::string(name) : fmt::format("{} {}", name, chain));
    return std::move(rule_);
}

Rule RuleBuilder::drop() && { return verdict(Verdict::Kind::kDrop, "drop", ""); }
Rule RuleBuilder::return_() && { return verdict(Verdict::Kind::kReturn, "return", ""); }
Rule RuleBuilder::jump(std::string_view chain) && { return verdict(Verdict::Kind::kJump, "jump", chain); }
Rule RuleBuilder::go_to(std::string_view chain) && { return verdict(Verdict::Kind::kGoto, "goto", chain); }
Rule RuleBuilder::done() && { return std::move(rule_); }

RuleBuilder& RuleBuilder::comment(std::string_view text) {
    rule_.comment = text;
    return *this;
}

}  // namespace ghostip::kernel::nft

#include "support/twin.h"

#include <cstdlib>
#include <regex>

#include <fmt/format.h>

namespace ghostip::testnet {
namespace {

net::IpAddress must_parse(std::string_view text) {
    const auto address = net::IpAddress::parse_lenient(text);
    if (!address) {
        fmt::print(stderr, "not an address: {}\n", text);
        std::abort();
    }
    return *address;
}

std::string_view upper_part(unsigned first, unsigned second) {
    if (first == 10) return "fd00:10::";
    if (first == 172 && second == 30) return "fd00:172::";
    if (first == 203) return "2001:db8:203::";
    return "2001:db8:ffff::";
}

}  // namespace

net::IpAddress twin(const net::IpAddress& ipv4) {
    const auto b = ipv4.bytes();
    if (b[0] == 192 && b[1] == 168) {
        if (b[2] == 0 && b[3] == 2) return must_parse("2001:db8::1");
        return must_parse(fmt::format("2001:db8:{}::{}", b[2], b[3]));
    }
    return must_parse(fmt::format("{}{:x}:{:x}", upper_part(b[0], b[1]), b[0] << 8 | b[1], b[2] << 8 | b[3]));
}

net::Prefix twin(const net::Prefix& ipv4) {
    if (ipv4.length == 0) return {net::IpAddress(net::Family::kIpv6), 0};
    if (ipv4.length == 8 && ipv4.address.bytes()[0] == 10) return {must_parse("fd00:10::"), 64};
    const bool neighbourhood = ipv4.address.bytes()[0] == 192 && ipv4.address.bytes()[1] == 168;
    if (neighbourhood && ipv4.length == 24)
        return {must_parse(fmt::format("2001:db8:{}::", ipv4.address.bytes()[2])), 64};
    const int length = ipv4.length + 96;
    return {twin(ipv4.address).masked(length), length};
}

std::string twin_text(std::string_view text) {
    static const std::regex pattern(R"((\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})(/\d{1,3})?|IPv4)");
    std::string result;
    const std::string source(text);
    std::size_t done = 0;
    for (auto match = std::sregex_iterator(source.begin(), source.end(), pattern); match != std::sregex_iterator();
         ++match) {
        const auto at = static_cast<std::size_t>(match->position());
        result.append(source, done, at - done);
        done = at + static_cast<std::size_t>(match->length());
        if (match->str() == "IPv4") {
            result += "IPv6";
        } else if ((*match)[2].matched) {
            const int length = std::atoi((*match)[2].str().c_str() + 1);
            result += twin(net::Prefix{must_parse((*match)[1].str()), length}).text();
        } else {
            result += twin(must_parse((*match)[1].str())).text();
        }
    }
    result.append(source, done);
    return result;
}

net::IpAddress in_family(net::Family family, std::string_view ipv4) {
    const auto address = must_parse(ipv4);
    return family == net::Family::kIpv4 ? address : twin(address);
}

}  // namespace ghostip::testnet

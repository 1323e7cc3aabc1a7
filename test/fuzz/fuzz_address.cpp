// Addresses and ranges: what is taken strictly is taken leniently, and what is printed is read back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "net/address.h"
#include "net/prefix.h"

namespace {

using ghostip::net::IpAddress;
using ghostip::net::Prefix;

void require(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto strict = IpAddress::parse(text);
    const auto lenient = IpAddress::parse_lenient(text);
    if (strict) {
        require(lenient.has_value());
        require(IpAddress::parse(strict->text()) == strict);
        // An IPv4-mapped address is its IPv4 address to the lenient reader; else they agree.
        if (lenient->family() == strict->family()) require(*lenient == *strict);
    }
    if (lenient) require(IpAddress::parse(lenient->text()) == lenient);
    if (const auto range = Prefix::parse_lenient(text)) {
        require(range->contains(range->address));
        require(range->address.masked(range->length) == range->address);
        require(Prefix::parse_lenient(range->text()) == range);
    }
    return 0;
}

#include "dataplane/nftables/element_text.h"

#include <cstring>

#include <fmt/format.h>

#include "net/protocol.h"

namespace ghostip::dataplane::nftables {
namespace {

using kernel::nft::Field;
using Bytes = std::span<const std::uint8_t>;

std::string field_text(Field field, Bytes bytes, net::Family family) {
    switch (field) {
        case Field::kAddress: return net::IpAddress::from_bytes(family, bytes.data()).text();
        case Field::kProtocol: return std::string(net::protocol_lower_name(static_cast<net::Protocol>(bytes[0])));
        case Field::kPort: return fmt::format("{}", bytes[0] << 8 | bytes[1]);
        case Field::kNumber: {
            std::uint32_t number = 0;
            std::memcpy(&number, bytes.data(), sizeof number);
            return fmt::format("{}", number);
        }
    }
    return "?";
}

std::string fields_text(const std::vector<Field>& fields, Bytes bytes, net::Family family) {
    std::string text;
    for (const Field field : fields) {
        if (!text.empty()) text += " . ";
        text += field_text(field, bytes, family);
        bytes = bytes.subspan(kernel::nft::field_size(field, family));
    }
    return text;
}

}  // namespace

std::string element_text(const kernel::nft::Set& set, Bytes bytes, net::Family family) {
    const std::size_t key = kernel::nft::fields_size(set.key, family);
    std::string text = fields_text(set.key, bytes.first(key), family);
    if (!set.data.empty()) text += " : " + fields_text(set.data, bytes.subspan(key), family);
    return text;
}

}  // namespace ghostip::dataplane::nftables

#include "kernel/nft/set_userdata.h"

#include <algorithm>
#include <cstring>

namespace ghostip::kernel::nft {
namespace {

// Attributes of one byte type, one byte length, value; nested ones are the same again. Layout of a key's type:
//
//   SET_KEY_TYPEOF { EXPR = concat, DATA { 0 { EXPR = payload, DATA { desc, template } }, 1 { … }, … } }
using Bytes = std::vector<std::uint8_t>;

enum SetAttribute : std::uint8_t {
    kKeyByteOrder = 0,
    kDataByteOrder = 1,
    kMergeElements = 2,
    kKeyTypeof = 3,
    kDataTypeof = 4,
    kComment = 7
};
enum TypeofAttribute : std::uint8_t { kExpression = 0, kExpressionData = 1 };
enum ExpressionType : std::uint32_t { kPayload = 7, kMeta = 9, kConcat = 13, kNumgen = 23 };
enum ProtocolDescription : std::uint32_t { kTransportHeader = 11, kIpv4Header = 12, kIpv6Header = 13 };
constexpr std::uint32_t kIpv4DestinationTemplate = 12;
constexpr std::uint32_t kIpv6DestinationTemplate = 9;
constexpr std::uint32_t kTransportDestinationTemplate = 2;
constexpr std::uint32_t kMetaL4Protocol = 16;
constexpr std::uint32_t kNumgenRandom = 1;

void put(Bytes& out, std::uint8_t type, const Bytes& value) {
    out.push_back(type);
    out.push_back(static_cast<std::uint8_t>(value.size()));
    out.insert(out.end(), value.begin(), value.end());
}

void put_number(Bytes& out, std::uint8_t type, std::uint32_t number) {
    Bytes value(sizeof number);
    std::memcpy(value.data(), &number, sizeof number);
    put(out, type, value);
}

Bytes expression(std::uint32_t type, const Bytes& data) {
    Bytes out;
    put_number(out, kExpression, type);
    put(out, kExpressionData, data);
    return out;
}

Bytes typeof_field(Field field, net::Family family) {
    const bool ipv4 = family == net::Family::kIpv4;
    Bytes data;
    switch (field) {
        case Field::kAddress:
            put_number(data, 0, ipv4 ? kIpv4Header : kIpv6Header);
            put_number(data, 1, ipv4 ? kIpv4DestinationTemplate : kIpv6DestinationTemplate);
            return expression(kPayload, data);
        case Field::kProtocol: put_number(data, 0, kMetaL4Protocol); return expression(kMeta, data);
        case Field::kPort:
            put_number(data, 0, kTransportHeader);
            put_number(data, 1, kTransportDestinationTemplate);
            return expression(kPayload, data);
        case Field::kNumber:
            put_number(data, 0, kNumgenRandom);
            put_number(data, 1, 1);  // modulus: of no meaning for the type
            put_number(data, 2, 0);  // offset
            return expression(kNumgen, data);
    }
    return {};
}

Bytes typeof_fields(const std::vector<Field>& fields, net::Family family) {
    if (fields.size() == 1) return typeof_field(fields[0], family);
    Bytes parts;
    std::uint8_t index = 0;
    for (const Field field : fields) put(parts, index++, typeof_field(field, family));
    return expression(kConcat, parts);
}

}  // namespace

std::vector<std::uint8_t> comment_userdata(const std::string& comment) {
    Bytes out;
    if (comment.empty()) return out;
    Bytes value(comment.begin(), comment.end());
    value.push_back(0);
    put(out, 0, value);  // the comment attribute of tables, chains and rules
    return out;
}

std::vector<std::uint8_t> set_userdata(const Set& set, net::Family family) {
    Bytes out;
    // Only a number needs more than a type name: `typeof numgen` is the one way to declare it.
    if (std::find(set.key.begin(), set.key.end(), Field::kNumber) != set.key.end()) {
        put_number(out, kKeyByteOrder, 0);
        put_number(out, kDataByteOrder, 0);
        put(out, kKeyTypeof, typeof_fields(set.key, family));
        put(out, kDataTypeof, typeof_fields(set.data, family));
    }
    put_number(out, kMergeElements, 0);
    if (!set.comment.empty()) {
        Bytes value(set.comment.begin(), set.comment.end());
        value.push_back(0);
        put(out, kComment, value);
    }
    return out;
}

}  // namespace ghostip::kernel::nft

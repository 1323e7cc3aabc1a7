#include "support/wire.h"

#include <netinet/in.h>

#include <cstring>

namespace ghostip::testnet {
namespace {

constexpr std::uint64_t kMagic = 0x67686f7374697021;  // "ghostip!"

template <typename T>
void put(std::uint8_t*& at, const T& value) {
    std::memcpy(at, &value, sizeof(value));
    at += sizeof(value);
}

template <typename T>
void get(const std::uint8_t*& at, T& value) {
    std::memcpy(&value, at, sizeof(value));
    at += sizeof(value);
}

void put_address(std::uint8_t*& at, const net::IpAddress& address) {
    put(at, static_cast<std::uint8_t>(address.family()));
    std::memcpy(at, address.bytes().data(), address.bytes().size());
    at += 16;
}

net::IpAddress get_address(const std::uint8_t*& at) {
    std::uint8_t family = 0;
    get(at, family);
    const auto address = net::IpAddress::from_bytes(family == 6 ? net::Family::kIpv6 : net::Family::kIpv4, at);
    at += 16;
    return address;
}

}  // namespace

SocketAddress::SocketAddress(const net::IpAddress& address, std::uint16_t port) {
    if (address.is_ipv4()) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        std::memcpy(&v4.sin_addr, address.bytes().data(), 4);
        std::memcpy(&storage, &v4, sizeof(v4));
        length = sizeof(v4);
    } else {
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        std::memcpy(&v6.sin6_addr, address.bytes().data(), 16);
        std::memcpy(&storage, &v6, sizeof(v6));
        length = sizeof(v6);
    }
}

net::IpAddress SocketAddress::address() const {
    if (storage.ss_family == AF_INET6)
        return net::IpAddress::from_bytes(
            net::Family::kIpv6,
            reinterpret_cast<const std::uint8_t*>(&reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr));
    return net::IpAddress::from_bytes(
        net::Family::kIpv4,
        reinterpret_cast<const std::uint8_t*>(&reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr));
}

std::uint16_t SocketAddress::port() const {
    // The port stands at the same place in both families.
    return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

std::array<std::uint8_t, kRequestSize> Request::encode() const {
    std::array<std::uint8_t, kRequestSize> bytes{};
    auto* at = bytes.data();
    put(at, kMagic);
    put(at, nonce);
    return bytes;
}

std::optional<Request> Request::decode(std::span<const std::uint8_t> bytes) {
    if (bytes.size() < kRequestSize) return std::nullopt;
    const auto* at = bytes.data();
    std::uint64_t magic = 0;
    Request request;
    get(at, magic);
    get(at, request.nonce);
    if (magic != kMagic) return std::nullopt;
    return request;
}

std::array<std::uint8_t, kAnswerSize> Answer::encode() const {
    std::array<std::uint8_t, kAnswerSize> bytes{};
    auto* at = bytes.data();
    put(at, kMagic);
    put(at, nonce);
    put(at, place);
    put_address(at, endpoint);
    put(at, endpoint_port);
    put_address(at, source);
    put(at, source_port);
    return bytes;
}

std::optional<Answer> Answer::decode(std::span<const std::uint8_t> bytes) {
    if (bytes.size() < kAnswerSize) return std::nullopt;
    const auto* at = bytes.data();
    std::uint64_t magic = 0;
    Answer answer;
    get(at, magic);
    if (magic != kMagic) return std::nullopt;
    get(at, answer.nonce);
    get(at, answer.place);
    answer.endpoint = get_address(at);
    get(at, answer.endpoint_port);
    answer.source = get_address(at);
    get(at, answer.source_port);
    return answer;
}

namespace sctp {
namespace {

constexpr std::size_t kCommonHeader = 12;
constexpr std::size_t kInitFixed = 20;  // chunk header and the fixed fields of INIT and INIT ACK
constexpr std::uint16_t kStateCookie = 7;

// CRC32c (Castagnoli), as SCTP wants it: reflected, least significant byte first.
std::uint32_t crc32c(std::span<const std::uint8_t> bytes) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> entries{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78U : 0U);
            entries[i] = value;
        }
        return entries;
    }();
    std::uint32_t crc = 0xffffffff;
    for (const auto byte : bytes) crc = (crc >> 8) ^ table[(crc ^ byte) & 0xff];
    return ~crc;
}

std::span<const std::uint8_t> bytes_of(const std::string& text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

void append16(std::string& to, std::uint16_t value) {
    to += static_cast<char>(value >> 8);
    to += static_cast<char>(value & 0xff);
}
void append32(std::string& to, std::uint32_t value) {
    append16(to, static_cast<std::uint16_t>(value >> 16));
    append16(to, static_cast<std::uint16_t>(value & 0xffff));
}
std::uint16_t read16(std::span<const std::uint8_t> bytes, std::size_t at) {
    return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}
std::uint32_t read32(std::span<const std::uint8_t> bytes, std::size_t at) {
    return static_cast<std::uint32_t>(read16(bytes, at)) << 16 | read16(bytes, at + 2);
}

}  // namespace

std::string Packet::encode() const {
    std::string bytes;
    append16(bytes, source_port);
    append16(bytes, destination_port);
    append32(bytes, verification_tag);
    append32(bytes, 0);  // the checksum, filled in below
    const std::size_t parameter = cookie.empty() ? 0 : 4 + cookie.size();
    bytes += static_cast<char>(chunk);
    bytes += '\0';
    append16(bytes, static_cast<std::uint16_t>(kInitFixed + parameter));
    append32(bytes, initiate_tag);
    append32(bytes, 65536);  // receive window
    append16(bytes, 1);      // outbound streams
    append16(bytes, 1);      // inbound streams
    append32(bytes, initiate_tag);
    if (!cookie.empty()) {
        append16(bytes, kStateCookie);
        append16(bytes, static_cast<std::uint16_t>(parameter));
        bytes += cookie;
    }
    const std::uint32_t crc = crc32c(bytes_of(bytes));
    for (std::size_t i = 0; i < 4; ++i) bytes[8 + i] = static_cast<char>(crc >> (8 * i) & 0xff);
    return bytes;
}

std::optional<Packet> Packet::decode(std::span<const std::uint8_t> bytes) {
    if (bytes.size() < kCommonHeader + kInitFixed) return std::nullopt;
    std::string copy(bytes.begin(), bytes.end());
    std::uint32_t crc = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        crc |= static_cast<std::uint32_t>(bytes[8 + i]) << (8 * i);
        copy[8 + i] = '\0';
    }
    if (crc != crc32c(bytes_of(copy))) return std::nullopt;
    Packet packet;
    packet.source_port = read16(bytes, 0);
    packet.destination_port = read16(bytes, 2);
    packet.verification_tag = read32(bytes, 4);
    packet.chunk = static_cast<Chunk>(bytes[12]);
    packet.initiate_tag = read32(bytes, 16);
    const std::size_t parameter = kCommonHeader + kInitFixed;
    if (packet.chunk == Chunk::kInitAck && bytes.size() >= parameter + 4 && read16(bytes, parameter) == kStateCookie)
        packet.cookie = copy.substr(parameter + 4, read16(bytes, parameter + 2) - 4U);
    return packet;
}

}  // namespace sctp
}  // namespace ghostip::testnet

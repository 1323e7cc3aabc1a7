// Field values that are more than text: addresses and ranges, by the leniency of Kubernetes (net/address.h).
#pragma once

#include <optional>
#include <string_view>

#include "api/codec/field.h"
#include "net/address.h"
#include "net/prefix.h"
#include "net/protocol.h"

namespace ghostip::api::codec {

// What happens to a value that does not parse: an error, or (where kube-proxy skips it with a log line) a notice.
enum class Unparsable : std::uint8_t { kIsError, kIsSkipped };

// Without white space at its ends.
[[nodiscard]] std::string_view trimmed(std::string_view text);

// Nothing for what is absent, or (silently if it may be skipped) blank.
[[nodiscard]] std::optional<net::IpAddress> address_of(const Field& field, Unparsable unparsable);
[[nodiscard]] std::optional<net::Prefix> range_of(const Field& field, Unparsable unparsable);
// Absent or empty: TCP.
[[nodiscard]] net::Protocol protocol_of(const Field& field);

}  // namespace ghostip::api::codec

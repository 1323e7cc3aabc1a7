// Base64, and the text around certificates and keys (RFC 7468). Whether a certificate means anything is for TLS to say.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace ghostip::source::kubernetes {

// Standard alphabet, with padding; line breaks are skipped. The error does not quote the text: it may be a key.
[[nodiscard]] Result<std::string> decode_base64(std::string_view text);
[[nodiscard]] std::string encode_base64(std::string_view bytes);

// Whether there is a block `-----BEGIN … kind-----` (`CERTIFICATE`; `PRIVATE KEY` also finds `RSA PRIVATE KEY`) with
// base64 in it, closed by its end.
[[nodiscard]] bool has_pem_block(std::string_view text, std::string_view kind);

}  // namespace ghostip::source::kubernetes

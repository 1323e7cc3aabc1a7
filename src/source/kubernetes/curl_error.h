// What libcurl says went wrong, in the words of transport.h.
#pragma once

#include <curl/curl.h>

#include <string>
#include <string_view>

#include "source/kubernetes/transport.h"

namespace ghostip::source::kubernetes {

// What is known about one failed transfer.
struct CurlFailure {
    CURLcode code = CURLE_OK;
    int os_error = 0;            // errno of a connection that was refused, or 0
    int proxy_status = 0;        // of an answer to CONNECT, or 0
    std::string_view detail;     // libcurl's own words, perhaps empty
    std::string_view server;     // for the message: https://10.0.0.1:6443
    std::string_view via_proxy;  // its host, or empty
};

[[nodiscard]] TransportError describe(const CurlFailure& failure);

}  // namespace ghostip::source::kubernetes

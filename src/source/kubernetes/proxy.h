// Whether a request goes through a proxy, and which.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "source/kubernetes/client_config.h"

namespace ghostip::source::kubernetes {

// A kubeconfig's proxy-url: `http://`, `https://` or `socks5://`, perhaps a user, and a host.
[[nodiscard]] Result<void> check_proxy_url(std::string_view url);

// What the configuration names; else what HTTPS_PROXY (HTTP_PROXY for an http server) says, unless NO_PROXY exempts the
// server or it is this machine. Lower-case names count too, as the second choice. Empty: directly.
//
// NO_PROXY: a list of `*`, addresses, CIDRs, `name` (also everything below it), `.name` (only what is below it), each
// with an optional `:port`; Go's rules (golang.org/x/net/http/httpproxy), by which operators have set it for
// kube-proxy.
[[nodiscard]] std::string proxy_for(const ClientConfig& config, const Environment& environment);

}  // namespace ghostip::source::kubernetes

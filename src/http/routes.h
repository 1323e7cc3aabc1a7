// Exact paths to handlers.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "http/message.h"

namespace ghostip::http {

enum class Methods : std::uint8_t { kRead, kAny };  // kRead: GET and HEAD; others are answered 405

struct Route {
    Handler handler;
    Methods methods = Methods::kRead;
};

using Routes = std::map<std::string, Route>;

// 404 for paths that `routes` lacks.
[[nodiscard]] Response answer(const Routes& routes, const Request& request);

}  // namespace ghostip::http

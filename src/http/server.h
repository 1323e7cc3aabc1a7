// A small HTTP server: exact paths to handlers, on its own thread. Handlers run on that thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ghostip::http {

struct Response {
    unsigned status = 200;
    std::string body = {};
    std::vector<std::pair<std::string, std::string>> headers = {};
};

using Handler = std::function<Response()>;

class Server {
  public:
    // Listens on `address` (IPv4 or IPv6 text) and `port` (0 = any free one). Paths that `routes` lacks answer 404;
    // methods other than GET and HEAD answer 405.
    [[nodiscard]] static Result<std::unique_ptr<Server>> listen(const std::string& address, std::uint16_t port,
                                                                std::map<std::string, Handler> routes);
    virtual ~Server() = default;
    // The port that it listens on.
    [[nodiscard]] virtual std::uint16_t port() const = 0;
};

}  // namespace ghostip::http

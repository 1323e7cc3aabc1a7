#include "http/routes.h"

namespace ghostip::http {

Response plain_error(unsigned status, const std::string& text) {
    return {
        status, text + "\n", {{"Content-Type", "text/plain; charset=utf-8"}, {"X-Content-Type-Options", "nosniff"}}};
}

Response answer(const Routes& routes, const Request& request) {
    const auto route = routes.find(request.path);
    if (route == routes.end()) return plain_error(404, "404 page not found");
    if (route->second.methods == Methods::kRead && request.method != "GET" && request.method != "HEAD") {
        Response refusal = plain_error(405, "method not allowed");
        refusal.headers.emplace_back("Allow", "GET, HEAD");
        return refusal;
    }
    return route->second.handler(request);
}

}  // namespace ghostip::http

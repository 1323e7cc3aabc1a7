#include "http/server.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

#include "base/fd.h"
#include "base/net_socket.h"

namespace ghostip::http {
namespace {

constexpr unsigned kConnectionLimit = 64;
constexpr unsigned kIdleSeconds = 30;

class MicrohttpdServer final : public Server {
  public:
    MicrohttpdServer(std::uint16_t port, std::map<std::string, Handler> routes)
        : port_(port), routes_(std::move(routes)) {}
    ~MicrohttpdServer() override {
        if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
    }
    MicrohttpdServer(const MicrohttpdServer&) = delete;
    MicrohttpdServer& operator=(const MicrohttpdServer&) = delete;

    // Takes the listening socket.
    Result<void> start(Fd socket) {
        daemon_ = MHD_start_daemon(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD, 0, nullptr, nullptr, &answer, this,
                                   MHD_OPTION_LISTEN_SOCKET, socket.get(), MHD_OPTION_CONNECTION_LIMIT,
                                   kConnectionLimit, MHD_OPTION_CONNECTION_TIMEOUT, kIdleSeconds, MHD_OPTION_END);
        if (daemon_ == nullptr) return fail("cannot start the HTTP server on port {}", port_);
        (void)socket.release();  // the daemon closes it
        return {};
    }

    [[nodiscard]] std::uint16_t port() const override { return port_; }

  private:
    [[nodiscard]] Response respond(std::string_view method, const std::string& path) const {
        if (method != "GET" && method != "HEAD") return {405, "method not allowed\n", {{"Allow", "GET, HEAD"}}};
        const auto route = routes_.find(path);
        return route == routes_.end() ? Response{404, "404 page not found\n"} : route->second();
    }

    static MHD_Result answer(void* self, MHD_Connection* connection, const char* url, const char* method,
                             const char* /*version*/, const char* /*upload*/, size_t* upload_size, void** seen) {
        static char marker;
        if (*seen == nullptr) {  // headers only; the answer is given at the second call
            *seen = &marker;
            return MHD_YES;
        }
        if (*upload_size != 0) {
            *upload_size = 0;
            return MHD_YES;
        }
        const Response response = static_cast<const MicrohttpdServer*>(self)->respond(method, url);
        MHD_Response* out = MHD_create_response_from_buffer(
            response.body.size(), const_cast<char*>(response.body.data()), MHD_RESPMEM_MUST_COPY);
        if (out == nullptr) return MHD_NO;
        for (const auto& [name, value] : response.headers) MHD_add_response_header(out, name.c_str(), value.c_str());
        const MHD_Result result = MHD_queue_response(connection, response.status, out);
        MHD_destroy_response(out);
        return result;
    }

    const std::uint16_t port_;
    const std::map<std::string, Handler> routes_;
    MHD_Daemon* daemon_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::listen(const std::string& address, std::uint16_t port,
                                               std::map<std::string, Handler> routes) {
    ASSIGN_OR_RETURN(auto listener, listen_tcp(address, port));
    auto server = std::make_unique<MicrohttpdServer>(listener.port, std::move(routes));
    RETURN_IF_ERROR(server->start(std::move(listener.socket)));
    return std::unique_ptr<Server>(std::move(server));
}

}  // namespace ghostip::http

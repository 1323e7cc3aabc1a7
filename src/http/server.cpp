#include "http/server.h"

#include <microhttpd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "http/gzip.h"

namespace ghostip::http {
namespace {

constexpr std::size_t kConnectionLimit = 256;
// While connections that were shut down are not yet gone, the library's count is a little ahead of ours.
constexpr unsigned kLibraryConnectionLimit = kConnectionLimit + 64;
constexpr unsigned kIdleSeconds = 30;
constexpr std::size_t kBodyLimit = 4096;
constexpr int kAcceptsAtOnce = 16;                             // then the others have their turn
constexpr std::chrono::milliseconds kNoDescriptorsPause{100};  // the socket stays readable, so this would else spin
constexpr std::uint64_t kWake = 0;  // what epoll hands back; listening sockets count from kFirstListener
constexpr std::uint64_t kLibrary = 1;
constexpr std::uint64_t kFirstListener = 2;

// A request whose body is still coming.
struct Incoming {
    std::string body;
    bool too_long = false;
};

MHD_Result add_header(void* map, MHD_ValueKind /*kind*/, const char* name, const char* value) {
    std::string lower(name);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    static_cast<std::map<std::string, std::string>*>(map)->emplace(std::move(lower), value == nullptr ? "" : value);
    return MHD_YES;
}

MHD_Result add_argument(void* map, MHD_ValueKind /*kind*/, const char* name, const char* value) {
    static_cast<std::map<std::string, std::string>*>(map)->emplace(name, value == nullptr ? "" : value);
    return MHD_YES;
}

void compress(const Request& request, Response& response) {
    if (response.compression == Compression::kNever) return;
    response.headers.emplace_back("Vary", "Accept-Encoding");
    if (!accepts_gzip(request.header("accept-encoding"))) return;
    auto compressed = gzip(response.body);
    if (!compressed) return;
    response.body = std::move(*compressed);
    response.headers.emplace_back("Content-Encoding", "gzip");
}

MHD_Result queue(MHD_Connection* connection, const Response& response) {
    MHD_Response* out = MHD_create_response_from_buffer(response.body.size(), const_cast<char*>(response.body.data()),
                                                        MHD_RESPMEM_MUST_COPY);
    if (out == nullptr) return MHD_NO;
    for (const auto& [name, value] : response.headers) MHD_add_response_header(out, name.c_str(), value.c_str());
    const MHD_Result result = MHD_queue_response(connection, response.status, out);
    MHD_destroy_response(out);
    return result;
}

class MicrohttpdServer final : public Server {
  public:
    explicit MicrohttpdServer(Handler handler) : handler_(std::move(handler)) {}
    ~MicrohttpdServer() override {
        stop_ = true;
        wake();
        if (thread_.joinable()) thread_.join();
        listeners_.clear();
        if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
    }
    MicrohttpdServer(const MicrohttpdServer&) = delete;
    MicrohttpdServer& operator=(const MicrohttpdServer&) = delete;

    Result<void> start() {
        epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
        wake_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        if (!epoll_ || !wake_) return fail_errno("start the HTTP server");
        daemon_ = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, nullptr, nullptr, &answer, this,
                                   MHD_OPTION_CONNECTION_LIMIT, kLibraryConnectionLimit, MHD_OPTION_CONNECTION_TIMEOUT,
                                   kIdleSeconds, MHD_OPTION_NOTIFY_CONNECTION, &connection_changed, this,
                                   MHD_OPTION_NOTIFY_COMPLETED, &completed, this, MHD_OPTION_END);
        const auto* info = daemon_ == nullptr ? nullptr : MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_EPOLL_FD);
        if (info == nullptr) return fail("cannot start the HTTP server");
        RETURN_IF_ERROR(watch(wake_.get(), kWake));
        RETURN_IF_ERROR(watch(info->epoll_fd, kLibrary));
        thread_ = std::thread([this] { run(); });
        return {};
    }

    Result<void> open(Listener listener, std::uint64_t tag) override {
        const std::lock_guard lock(mutex_);
        RETURN_IF_ERROR(watch(listener.socket.get(), next_));
        listeners_.emplace(next_++, Listening{std::move(listener.socket), tag});
        return {};
    }

    void close(std::uint64_t tag) override {
        {
            const std::lock_guard lock(mutex_);
            std::erase_if(listeners_, [&](const auto& entry) { return entry.second.tag == tag; });
            ending_.insert(tag);
        }
        wake();
    }

    [[nodiscard]] std::uint16_t port() const override { return port_; }
    void set_port(std::uint16_t port) { port_ = port; }

  private:
    struct Listening {
        Fd socket;
        std::uint64_t tag;
    };
    struct Open {
        int socket;  // the library's
        std::uint64_t tag;
    };

    Result<void> watch(int fd, std::uint64_t what) const {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = what;
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) return fail_errno("watch a socket for HTTP");
        return {};
    }

    void wake() const {
        const std::uint64_t one = 1;
        (void)!::write(wake_.get(), &one, sizeof one);
    }

    void run() {
        sigset_t pipe;
        sigemptyset(&pipe);
        sigaddset(&pipe, SIGPIPE);  // a client that left
        pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
        std::array<epoll_event, 64> events{};
        while (!stop_) {
            MHD_UNSIGNED_LONG_LONG left = 0;
            const bool due = MHD_get_timeout(daemon_, &left) == MHD_YES;
            const int timeout = due ? static_cast<int>(std::min<MHD_UNSIGNED_LONG_LONG>(left, 60'000)) : -1;
            const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout);
            for (int i = 0; i < count; ++i) {
                const auto what = events[static_cast<std::size_t>(i)].data.u64;
                if (what == kWake) end_connections();
                if (what < kFirstListener) continue;
                if (!accept_some(what)) std::this_thread::sleep_for(kNoDescriptorsPause);
                MHD_run(daemon_);
            }
            MHD_run(daemon_);
        }
    }

    void end_connections() {
        std::uint64_t word = 0;
        (void)!::read(wake_.get(), &word, sizeof word);
        std::set<std::uint64_t> ending;
        {
            const std::lock_guard lock(mutex_);
            ending = std::exchange(ending_, {});
        }
        std::erase_if(connections_, [&](const auto& entry) {
            if (!ending.contains(entry.second.tag)) return false;
            end(entry.second);
            return true;
        });
    }

    // The library notices that nothing more will come, and closes it.
    static void end(const Open& connection) { ::shutdown(connection.socket, SHUT_RDWR); }

    void end_oldest() {
        if (connections_.empty()) return;
        end(connections_.begin()->second);
        connections_.erase(connections_.begin());
    }

    // False: there are no descriptors left.
    [[nodiscard]] bool accept_some(std::uint64_t which) {
        const std::lock_guard lock(mutex_);
        const auto listening = listeners_.find(which);
        if (listening == listeners_.end()) return true;  // closed meanwhile
        for (int i = 0; i < kAcceptsAtOnce; ++i) {
            sockaddr_storage peer{};
            socklen_t size = sizeof peer;
            const int socket = ::accept4(listening->second.socket.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                                         SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (socket < 0) {
                const bool exhausted = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
                if (exhausted) end_oldest();
                return !exhausted;
            }
            if (connections_.size() >= kConnectionLimit) end_oldest();
            accepting_ = listening->second.tag;
            MHD_add_connection(daemon_, socket, reinterpret_cast<sockaddr*>(&peer), size);  // closes it where it fails
        }
        return true;
    }

    static void connection_changed(void* self, MHD_Connection* connection, void** context,
                                   MHD_ConnectionNotificationCode code) {
        auto& server = *static_cast<MicrohttpdServer*>(self);
        if (code == MHD_CONNECTION_NOTIFY_STARTED) {
            const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
            const auto number = ++server.last_connection_;
            *context = reinterpret_cast<void*>(number);
            server.connections_[number] = {info == nullptr ? -1 : info->connect_fd, server.accepting_};
        } else {
            server.connections_.erase(reinterpret_cast<std::uintptr_t>(*context));
        }
    }

    static void completed(void* /*self*/, MHD_Connection* /*connection*/, void** incoming,
                          MHD_RequestTerminationCode /*how*/) {
        delete static_cast<Incoming*>(*incoming);
        *incoming = nullptr;
    }

    static MHD_Result answer(void* self, MHD_Connection* connection, const char* url, const char* method,
                             const char* /*version*/, const char* upload, size_t* upload_size, void** state) {
        if (*state == nullptr) {  // headers only; the answer is given when the body is over
            *state = new Incoming;
            return MHD_YES;
        }
        auto& incoming = *static_cast<Incoming*>(*state);
        if (*upload_size != 0) {
            incoming.too_long = incoming.too_long || incoming.body.size() + *upload_size > kBodyLimit;
            if (!incoming.too_long) incoming.body.append(upload, *upload_size);
            *upload_size = 0;
            return MHD_YES;
        }
        return static_cast<MicrohttpdServer*>(self)->respond(connection, url, method, incoming);
    }

    MHD_Result respond(MHD_Connection* connection, const char* url, const char* method, Incoming& incoming) const {
        if (incoming.too_long) return queue(connection, plain_error(413, "request body too large"));
        Request request;
        request.method = method;
        request.path = url;
        request.body = std::move(incoming.body);
        MHD_get_connection_values(connection, MHD_HEADER_KIND, &add_header, &request.headers);
        MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, &add_argument, &request.query);
        const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        const auto known =
            connections_.find(info == nullptr ? 0 : reinterpret_cast<std::uintptr_t>(info->socket_context));
        if (known != connections_.end()) request.tag = known->second.tag;
        Response response = handler_(request);
        compress(request, response);
        return queue(connection, response);
    }

    const Handler handler_;
    std::uint16_t port_ = 0;  // set before anybody else has this
    Fd epoll_;
    Fd wake_;
    MHD_Daemon* daemon_ = nullptr;

    // Used by the thread alone. By number: the oldest is the first.
    std::map<std::uintptr_t, Open> connections_;
    std::uintptr_t last_connection_ = 0;
    std::uint64_t accepting_ = 0;  // the tag of the connection that the library is being given

    std::mutex mutex_;
    std::map<std::uint64_t, Listening>
        listeners_;                        // guarded by mutex_; by what epoll hands back, which is never reused
    std::uint64_t next_ = kFirstListener;  // guarded by mutex_
    std::set<std::uint64_t> ending_;       // guarded by mutex_; tags whose connections are to end
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(Handler handler) {
    auto server = std::make_unique<MicrohttpdServer>(std::move(handler));
    RETURN_IF_ERROR(server->start());
    return std::unique_ptr<Server>(std::move(server));
}

Result<std::unique_ptr<Server>> Server::listen(const std::string& address, std::uint16_t port, Routes routes) {
    ASSIGN_OR_RETURN(auto listener, listen_tcp(address, port));
    auto server = std::make_unique<MicrohttpdServer>(
        [routes = std::move(routes)](const Request& request) { return http::answer(routes, request); });
    server->set_port(listener.port);
    RETURN_IF_ERROR(server->start());
    RETURN_IF_ERROR(server->open(std::move(listener), 0));
    return std::unique_ptr<Server>(std::move(server));
}

}  // namespace ghostip::http

#include "kubernetes/api_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

#include <fmt/format.h>

#include "kubernetes/protobuf_encode.h"

namespace ghostip::testkubernetes {
namespace {

using Clock = std::chrono::steady_clock;
using How = Fault::How;

constexpr std::size_t kHistory = 200'000;
constexpr std::size_t kLargestRequest = 1 << 20;

std::string percent_decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size()) {
            out += static_cast<char>(std::strtol(std::string(text.substr(i + 1, 2)).c_str(), nullptr, 16));
            i += 2;
        } else {
            out += text[i] == '+' ? ' ' : text[i];
        }
    }
    return out;
}

std::optional<api::Kind> kind_of(std::string_view path) {
    if (path == "/api/v1/services") return api::Kind::kService;
    if (path == "/api/v1/nodes") return api::Kind::kNode;
    if (path == "/apis/discovery.k8s.io/v1/endpointslices") return api::Kind::kEndpointSlice;
    if (path == "/apis/networking.k8s.io/v1/servicecidrs") return api::Kind::kServiceCidr;
    return std::nullopt;
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

std::string value_of(const Asked& asked, const std::string& key) {
    const auto found = asked.query.find(key);
    return found == asked.query.end() ? "" : found->second;
}

// The selectors that kube-proxy sends, and no others.
bool selected(const Asked& asked, const api::Object& object) {
    const auto labels = value_of(asked, "labelSelector");
    const auto fields = value_of(asked, "fieldSelector");
    if (const auto* service = std::get_if<std::shared_ptr<const api::Service>>(&object))
        return !(labels == "!service.kubernetes.io/service-proxy-name" && (*service)->proxied_elsewhere) &&
               !(fields == "spec.clusterIP!=None" && (*service)->headless);
    if (const auto* slice = std::get_if<std::shared_ptr<const api::EndpointSlice>>(&object))
        return !(labels == "!service.kubernetes.io/headless" && (*slice)->headless);
    if (const auto* node = std::get_if<std::shared_ptr<const api::Node>>(&object))
        return fields.empty() || fields == "metadata.name=" + (*node)->name;
    return true;
}

std::string_view reason_of(int status) {
    switch (status) {
        case 401: return "Unauthorized";
        case 403: return "Forbidden";
        case 404: return "NotFound";
        case 410: return "Expired";
        case 422: return "Invalid";
        case 429: return "TooManyRequests";
        case 504: return "Timeout";
        default: return "InternalError";
    }
}

std::string status_object(int status, const std::string& reason, const std::string& message, int retry_after,
                          const std::string& causes) {
    std::string details;
    if (retry_after != 0 || !causes.empty())
        details =
            fmt::format(R"("details":{{{}{}"retryAfterSeconds":{}}},)", causes, causes.empty() ? "" : ",", retry_after);
    return fmt::format(
        R"({{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{}","reason":"{}",{}"code":{}}})",
        message, reason, details, status);
}

}  // namespace

// One answer on its way; false from a function: the connection is over.
class ApiServer::Out {
  public:
    Out(int fd, const Fault& fault) : fd_(fd), fault_(fault) {}

    bool whole(int status, std::string_view type, std::string_view more, std::string_view body) {
        const auto head = fmt::format("HTTP/1.1 {} X\r\nContent-Type: {}\r\n{}Content-Length: {}\r\n\r\n", status, type,
                                      more, body.size());
        if (fault_.how == How::kHalf) {
            static_cast<void>(raw(head + std::string(body.substr(0, body.size() / 2))));
            return false;
        }
        if (fault_.how == How::kTrickle) return raw(head) && trickle(body);
        return raw(head + std::string(body));
    }

    bool begin_stream(std::string_view type) {
        return raw(fmt::format("HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n", type));
    }
    bool chunk(std::string_view bytes) {
        if (bytes.empty()) return true;
        if (fault_.how == How::kHalf) {
            static_cast<void>(raw(fmt::format("{:x}\r\n{}", bytes.size(), bytes.substr(0, bytes.size() / 2))));
            return false;
        }
        if (fault_.how == How::kTrickle) {
            for (const char byte : bytes) {
                if (!raw(fmt::format("1\r\n{}\r\n", byte))) return false;
                std::this_thread::sleep_for(fault_.pause);
            }
            return true;
        }
        return raw(fmt::format("{:x}\r\n", bytes.size()) + std::string(bytes) + "\r\n");
    }
    bool end_stream() { return raw("0\r\n\r\n"); }
    bool raw(std::string_view bytes) const {
        while (!bytes.empty()) {
            const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }
    // Has the other side hung up?
    [[nodiscard]] bool gone() const {
        char byte = 0;
        const auto got = ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
    }

  private:
    bool trickle(std::string_view bytes) const {
        for (const char byte : bytes) {
            if (!raw({&byte, 1})) return false;
            std::this_thread::sleep_for(fault_.pause);
        }
        return true;
    }
    const int fd_;
    const Fault& fault_;
};

Result<std::unique_ptr<ApiServer>> ApiServer::open() {
    std::unique_ptr<ApiServer> server(new ApiServer());
    server->namespace_ = Fd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)};
    RETURN_IF_ERROR(server->listen());
    return server;
}

ApiServer::~ApiServer() { go_away(); }

std::string ApiServer::url() const { return fmt::format("http://127.0.0.1:{}", port_); }

Result<void> ApiServer::listen() {
    Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(socket.get(), 64) != 0 ||
        ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
        return fail_errno("listen on 127.0.0.1:{}", port_);
    port_ = ntohs(address.sin_port);
    listener_ = std::move(socket);
    listening_ = true;
    accept_thread_ = std::thread([this] { accept_all(); });
    return {};
}

void ApiServer::accept_all() {
    while (listening_) {
        pollfd waiting{listener_.get(), POLLIN, 0};
        if (::poll(&waiting, 1, 20) != 1) continue;
        Fd socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        if (!socket) continue;
        const int on = 1;
        ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        const std::lock_guard lock(mutex_);
        for (auto at = connections_.begin(); at != connections_.end();) {
            if (!at->done) {
                ++at;
                continue;
            }
            at->thread.join();
            at = connections_.erase(at);
        }
        auto& connection = connections_.emplace_back();
        connection.socket = std::move(socket);
        connection.thread = std::thread([this, &connection] { serve(connection); });
    }
}

void ApiServer::go_away() {
    listening_ = false;
    if (accept_thread_.joinable()) accept_thread_.join();
    listener_.reset();
    drop_connections();
}

Result<void> ApiServer::come_back() {
    // Its own place, whoever calls.
    Result<void> result;
    std::thread inside([&] {
        if (::setns(namespace_.get(), CLONE_NEWNET) != 0)
            result = fail_errno("enter the namespace");
        else
            result = listen();
    });
    inside.join();
    return result;
}

void ApiServer::drop_connections() {
    {
        const std::lock_guard lock(mutex_);
        ++epoch_;
        for (auto& connection : connections_) {
            const linger at_once{1, 0};
            ::setsockopt(connection.socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            ::shutdown(connection.socket.get(), SHUT_RDWR);
        }
    }
    changed_.notify_all();
    std::list<Connection> ended;
    {
        const std::lock_guard lock(mutex_);
        ended.swap(connections_);
    }
    for (auto& connection : ended) connection.thread.join();
}

std::uint64_t ApiServer::put(const api::Object& object, const std::string& trigger_time) {
    const std::lock_guard lock(mutex_);
    auto stored = std::make_shared<Stored>(Stored{object, ++version_, trigger_time});
    auto& place = objects_[api::key_of(object)];
    history_.push_back({place == nullptr ? "ADDED" : "MODIFIED", stored, version_});
    place = std::move(stored);
    if (history_.size() > kHistory) {
        oldest_ = history_.front().version;
        history_.pop_front();
    }
    changed_.notify_all();
    return version_;
}

std::uint64_t ApiServer::remove(const api::ObjectKey& key) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(key);
    if (found == objects_.end()) return version_;
    auto stored = std::make_shared<Stored>(Stored{found->second->object, ++version_, found->second->trigger_time});
    objects_.erase(found);
    history_.push_back({"DELETED", std::move(stored), version_});
    changed_.notify_all();
    return version_;
}

std::vector<api::Object> ApiServer::objects(api::Kind kind) const {
    const std::lock_guard lock(mutex_);
    std::vector<api::Object> all;
    for (const auto& [key, stored] : objects_)
        if (key.kind == kind) all.push_back(stored->object);
    return all;
}

std::size_t ApiServer::encode_all() {
    const std::lock_guard lock(mutex_);
    for (auto& [key, stored] : objects_) static_cast<void>(event_text("ADDED", *stored, protobuf_));
    return objects_.size();
}

void ApiServer::compact() {
    const std::lock_guard lock(mutex_);
    history_.clear();
    oldest_ = ++version_;
}

void ApiServer::restore(std::vector<api::Object> objects, std::uint64_t version) {
    go_away();
    {
        const std::lock_guard lock(mutex_);
        objects_.clear();
        history_.clear();
        version_ = version;
        for (auto& object : objects) {
            auto key = api::key_of(object);
            objects_[std::move(key)] = std::make_shared<Stored>(Stored{std::move(object), ++version_, {}});
        }
        oldest_ = version_;
    }
    static_cast<void>(come_back());
}

void ApiServer::end_watches() {
    const std::lock_guard lock(mutex_);
    ++epoch_;
    changed_.notify_all();
}

void ApiServer::set_fault(std::function<Fault(const Asked&)> fault) {
    const std::lock_guard lock(mutex_);
    fault_ = std::move(fault);
}

std::vector<Asked> ApiServer::requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
}

void ApiServer::serve(Connection& connection) {
    std::string buffer;
    std::array<char, 16384> part{};
    bool alive = true;
    while (alive) {
        const auto end = buffer.find("\r\n\r\n");
        if (end == std::string::npos) {
            const auto got = ::recv(connection.socket.get(), part.data(), part.size(), 0);
            if (got <= 0 || buffer.size() > kLargestRequest) break;
            buffer.append(part.data(), static_cast<std::size_t>(got));
            continue;
        }
        Asked asked;
        const auto line = buffer.substr(0, buffer.find("\r\n"));
        const auto first = line.find(' ');
        const auto second = line.find(' ', first + 1);
        if (first == std::string::npos || second == std::string::npos) break;
        asked.method = line.substr(0, first);
        const auto target = line.substr(first + 1, second - first - 1);
        const auto question = target.find('?');
        asked.path = target.substr(0, question);
        if (question != std::string::npos) {
            auto rest = target.substr(question + 1);
            while (!rest.empty()) {
                const auto ampersand = rest.find('&');
                const auto pair = rest.substr(0, ampersand);
                rest = ampersand == std::string::npos ? "" : rest.substr(ampersand + 1);
                const auto equals = pair.find('=');
                asked.query[percent_decoded(pair.substr(0, equals))] =
                    equals == std::string::npos ? "" : percent_decoded(pair.substr(equals + 1));
            }
        }
        std::size_t length = 0;
        for (std::size_t at = line.size() + 2; at < end;) {
            const auto stop = buffer.find("\r\n", at);
            const auto header = buffer.substr(at, stop - at);
            const auto colon = header.find(':');
            const auto name = lower(header.substr(0, colon));
            const auto value =
                colon == std::string::npos ? "" : header.substr(header.find_first_not_of(' ', colon + 1));
            if (name == "accept") asked.accept = value;
            if (name == "content-length") length = std::strtoul(value.c_str(), nullptr, 10);
            at = stop + 2;
        }
        while (buffer.size() < end + 4 + length) {
            const auto got = ::recv(connection.socket.get(), part.data(), part.size(), 0);
            if (got <= 0) break;
            buffer.append(part.data(), static_cast<std::size_t>(got));
        }
        asked.body = buffer.substr(end + 4, length);
        buffer.erase(0, end + 4 + length);
        asked.kind = kind_of(asked.path);
        asked.watch = value_of(asked, "watch") == "true";
        asked.streaming_list = value_of(asked, "sendInitialEvents") == "true";
        alive = answer(connection, asked);
    }
    ::shutdown(connection.socket.get(), SHUT_RDWR);
    connection.done = true;
}

bool ApiServer::answer(Connection& connection, const Asked& asked) {
    std::function<Fault(const Asked&)> ask;
    {
        const std::lock_guard lock(mutex_);
        requests_.push_back(asked);
        ask = fault_;
    }
    const Fault fault = ask ? ask(asked) : Fault{};
    Out out(connection.socket.get(), fault);
    switch (fault.how) {
        case How::kStatus:
            return refuse(out, fault.status, fault.reason.empty() ? std::string(reason_of(fault.status)) : fault.reason,
                          "this server was told to say so", fault.retry_after_seconds);
        case How::kGarbage:
            return out.whole(200, protobuf_ ? "application/vnd.kubernetes.protobuf" : "application/json", "",
                             "\x07 this is {not anything] \xff\xfe that makes sense");
        case How::kReset: {
            const linger at_once{1, 0};
            ::setsockopt(connection.socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            const std::lock_guard lock(mutex_);
            connection.socket.reset();
            return false;
        }
        case How::kSilentHead: {
            std::unique_lock lock(mutex_);
            const auto epoch = epoch_;
            while (epoch_ == epoch && !out.gone()) changed_.wait_for(lock, std::chrono::milliseconds(50));
            return false;
        }
        default: break;
    }
    if (asked.method == "POST" || asked.method == "PATCH")
        return out.whole(asked.method == "POST" ? 201 : 200, "application/json", "", asked.body);
    if (!asked.kind) return refuse(out, 404, "NotFound", "the server could not find the requested resource", 0);
    const bool protobuf = protobuf_ && asked.accept.find("protobuf") != std::string::npos;
    if (!protobuf && !asked.accept.empty() && asked.accept.find("json") == std::string::npos &&
        asked.accept.find("*/*") == std::string::npos)
        return refuse(out, 406, "NotAcceptable", "only the following media types are accepted: application/json", 0);
    return asked.watch ? answer_watch(out, asked, protobuf, fault) : answer_list(out, asked, protobuf, fault);
}

bool ApiServer::refuse(Out& out, int status, const std::string& reason, const std::string& message, int retry_after,
                       const std::string& causes) {
    const std::string header = retry_after == 0 ? "" : fmt::format("Retry-After: {}\r\n", retry_after);
    return out.whole(status, "application/json", header, status_object(status, reason, message, retry_after, causes));
}

std::string ApiServer::event_text(std::string_view type, Stored& stored, bool protobuf) const {
    const auto kind = api::key_of(stored.object).kind;
    const Extra extra{stored.version, stored.trigger_time};
    if (!protobuf) {
        if (stored.json.empty()) stored.json = json_object(stored.object, extra);
        return fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, stored.json);
    }
    if (stored.message.empty()) stored.message = protobuf_message(stored.object, extra);
    return protobuf_frame(type, protobuf_envelope(api_version_of(kind), api::kind_name(kind), stored.message));
}

std::string ApiServer::bookmark_text(api::Kind kind, std::uint64_t version, bool initial_end, bool protobuf) const {
    if (!protobuf)
        return fmt::format(
            "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{{"
            "\"resourceVersion\":\"{}\"{}}}}}}}\n",
            api::kind_name(kind), api_version_of(kind), version,
            initial_end ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "");
    return protobuf_frame("BOOKMARK", protobuf_envelope(api_version_of(kind), api::kind_name(kind),
                                                        bookmark_message(version, initial_end)));
}

std::string ApiServer::list_text(const Asked& asked, bool protobuf, std::string& error) {
    const std::lock_guard lock(mutex_);
    const auto limit = std::strtoul(value_of(asked, "limit").c_str(), nullptr, 10);
    const auto token = value_of(asked, "continue");
    // A token is the version of the list and how many objects were given.
    const auto comma = token.find('-');
    const auto version = token.empty() ? version_ : std::strtoull(token.c_str(), nullptr, 10);
    const auto given = token.empty() ? 0 : std::strtoul(token.c_str() + comma + 1, nullptr, 10);
    if (!token.empty() && version < oldest_) {
        error = "The provided continue parameter is too old";
        return {};
    }
    const auto* end = "";
    std::string items;
    std::string next;
    std::size_t count = 0;
    for (auto& [key, stored] : objects_) {
        if (key.kind != *asked.kind || !selected(asked, stored->object)) continue;
        if (count++ < given) continue;
        if (limit != 0 && count > given + limit) {
            next = fmt::format("{}-{}", version, given + limit);
            break;
        }
        static_cast<void>(event_text("ADDED", *stored, protobuf));  // encodes it
        if (protobuf) {
            items += list_item(stored->message);
        } else {
            items += end + stored->json;
            end = ",";
        }
    }
    const auto kind = std::string(api::kind_name(*asked.kind)) + "List";
    if (protobuf) return protobuf_envelope(api_version_of(*asked.kind), kind, list_metadata(version, next) + items);
    return fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}"{}}},"items":[{}]}})",
                       kind, api_version_of(*asked.kind), version,
                       next.empty() ? "" : fmt::format(R"(,"continue":"{}")", next), items);
}

bool ApiServer::answer_list(Out& out, const Asked& asked, bool protobuf, const Fault& /*fault*/) {
    const auto wanted = std::strtoull(value_of(asked, "resourceVersion").c_str(), nullptr, 10);
    std::uint64_t now = 0;
    {
        const std::lock_guard lock(mutex_);
        now = version_;
    }
    if (wanted > now)
        return refuse(out, 504, "Timeout", fmt::format("Too large resource version: {}, current: {}", wanted, now), 1,
                      R"("causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}])");
    std::string error;
    const auto text = list_text(asked, protobuf, error);
    if (!error.empty()) return refuse(out, 410, "Expired", error, 0);
    return out.whole(200, protobuf ? "application/vnd.kubernetes.protobuf" : "application/json", "", text);
}

bool ApiServer::answer_watch(Out& out, const Asked& asked, bool protobuf, const Fault& fault) {
    if (asked.streaming_list && !streaming_lists_)
        return refuse(out, 422, "Invalid",
                      "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled", 0);
    const auto kind = *asked.kind;
    const auto from = value_of(asked, "resourceVersion");
    const auto asked_version = std::strtoull(from.c_str(), nullptr, 10);
    const auto seconds = std::strtol(value_of(asked, "timeoutSeconds").c_str(), nullptr, 10);
    const auto deadline = Clock::now() + std::chrono::seconds(seconds == 0 ? 3600 : seconds);
    std::string text;
    std::uint64_t at = 0;
    std::uint64_t epoch = 0;
    {
        const std::lock_guard lock(mutex_);
        epoch = epoch_;
        if (asked_version > version_)
            return refuse(out, 504, "Timeout",
                          fmt::format("Too large resource version: {}, current: {}", asked_version, version_), 1,
                          R"("causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}])");
        const bool everything = asked.streaming_list || from.empty() || from == "0";
        at = everything ? version_ : asked_version;
        if (everything)
            for (auto& [key, stored] : objects_)
                if (key.kind == kind && selected(asked, stored->object)) text += event_text("ADDED", *stored, protobuf);
        if (asked.streaming_list) text += bookmark_text(kind, version_, true, protobuf);
        if (!everything && asked_version < oldest_) {
            const auto status = status_object(
                410, "Expired", fmt::format("too old resource version: {} ({})", asked_version, oldest_), 0, "");
            text = protobuf ? protobuf_frame("ERROR", protobuf_envelope(
                                                          "v1", "Status",
                                                          status_message(410, "Expired", "too old resource version")))
                            : fmt::format("{{\"type\":\"ERROR\",\"object\":{}}}\n", status);
            epoch = epoch_ + 1;  // ends at once
        }
    }
    struct Counted {
        std::atomic<std::size_t>& count;
        explicit Counted(std::atomic<std::size_t>& c) : count(c) { ++count; }
        ~Counted() { --count; }
    } const counted(open_watches_);
    if (!out.begin_stream(protobuf ? "application/vnd.kubernetes.protobuf;stream=watch" : "application/json"))
        return false;
    if (!out.chunk(text)) return false;
    auto bookmark_at = Clock::now() + bookmark_interval_.load();
    while (true) {
        text.clear();
        {
            std::unique_lock lock(mutex_);
            const auto news = [&] { return epoch_ != epoch || (!history_.empty() && history_.back().version > at); };
            if (fault.how == How::kSilentStream) {
                while (epoch_ == epoch && !out.gone()) changed_.wait_for(lock, std::chrono::milliseconds(50));
                return false;
            }
            changed_.wait_until(lock, std::min({bookmark_at, deadline, Clock::now() + std::chrono::milliseconds(200)}),
                                news);
            if (epoch_ != epoch) break;
            auto event = std::upper_bound(history_.begin(), history_.end(), at,
                                          [](std::uint64_t version, const Event& e) { return version < e.version; });
            for (; event != history_.end(); ++event) {
                at = event->version;
                const auto& object = event->stored->object;
                if (api::key_of(object).kind == kind && selected(asked, object))
                    text += event_text(event->type, *event->stored, protobuf);
            }
        }
        if (Clock::now() >= bookmark_at) {
            bookmark_at = Clock::now() + bookmark_interval_.load();
            if (value_of(asked, "allowWatchBookmarks") == "true") text += bookmark_text(kind, at, false, protobuf);
        }
        if (!out.chunk(text) || out.gone()) return false;
        if (Clock::now() >= deadline) break;
    }
    return out.end_stream();
}

}  // namespace ghostip::testkubernetes

// An API server for tests: lists and watches of the four kinds that the agent reads, in both encodings, with all the
// ways in which a real one goes wrong. It listens on loopback, in the network namespace of the thread that opens it.
//
// Lists are answered whole or in pages, watches from any resource version that is not compacted, also as a streaming
// list. Selectors are those that the agent sends. Thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "api/objects.h"
#include "base/fd.h"
#include "base/result.h"

namespace ghostip::testkubernetes {

// What a request asks, as far as anybody here cares.
struct Asked {
    std::string method;
    std::string path;
    std::map<std::string, std::string> query;  // decoded
    std::string accept;
    std::optional<api::Kind> kind;  // of a list or watch
    bool watch = false;
    bool streaming_list = false;
    std::string body = {};
};

// What goes wrong with an answer.
struct Fault {
    enum class How : std::uint8_t {
        kNone,
        kStatus,        // `status`, with a Status object as body
        kGarbage,       // 200, and bytes that mean nothing
        kHalf,          // what is right, cut in the middle, and the connection closed
        kTrickle,       // what is right, a byte at a time, `pause` apart
        kReset,         // the connection is reset before any answer
        kSilentHead,    // nothing at all comes, and the connection stays
        kSilentStream,  // the head and what exists come, then never anything again, not even bookmarks
    };
    How how = How::kNone;
    int status = 500;
    std::string reason = {};      // of the Status
    int retry_after_seconds = 0;  // 0: no such header
    std::chrono::milliseconds pause{1000};
};

class ApiServer {
  public:
    [[nodiscard]] static Result<std::unique_ptr<ApiServer>> open();
    ~ApiServer();
    ApiServer(const ApiServer&) = delete;
    ApiServer& operator=(const ApiServer&) = delete;

    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] std::string url() const;

    // Objects. The resource version that this made. `trigger_time` as in Extra.
    std::uint64_t put(const api::Object& object, const std::string& trigger_time = {});
    std::uint64_t remove(const api::ObjectKey& key);
    [[nodiscard]] std::vector<api::Object> objects(api::Kind kind) const;

    // Encodes everything now that somebody will want, and says how many objects that are.
    std::size_t encode_all();

    // Forgets the history: who watches from before meets 410.
    void compact();
    // As after a restore from a backup: all connections end, these objects are all there is, and resource versions go
    // on from `version`.
    void restore(std::vector<api::Object> objects, std::uint64_t version);
    // Nobody listens, and all connections are reset; until come_back().
    void go_away();
    [[nodiscard]] Result<void> come_back();
    // Ends all watches as a server does whose time-out is over.
    void end_watches();

    // Asked for each request, from any thread, until it is replaced; null: nothing goes wrong.
    void set_fault(std::function<Fault(const Asked&)> fault);
    void set_bookmark_interval(std::chrono::milliseconds interval) { bookmark_interval_ = interval; }
    void set_protobuf(bool on) { protobuf_ = on; }                // off: only JSON is spoken
    void set_streaming_lists(bool on) { streaming_lists_ = on; }  // off: as a server before 1.34 without the gate

    // So far: requests for lists and watches, by kind, and bodies that were posted.
    [[nodiscard]] std::vector<Asked> requests() const;
    [[nodiscard]] std::size_t open_watches() const { return open_watches_; }

  private:
    struct Stored {
        api::Object object;
        std::uint64_t version = 0;
        std::string trigger_time;
        // Encoded when somebody first wants it.
        std::string json = {};
        std::string message = {};
    };
    struct Event {
        std::string_view type;  // ADDED …
        std::shared_ptr<Stored> stored;
        std::uint64_t version = 0;
    };
    struct Connection {
        Fd socket;
        std::thread thread;
        std::atomic<bool> done = false;
    };
    class Out;

    ApiServer() = default;
    [[nodiscard]] Result<void> listen();
    void accept_all();
    void serve(Connection& connection);
    [[nodiscard]] bool answer(Connection& connection, const Asked& asked);
    [[nodiscard]] bool answer_list(Out& out, const Asked& asked, bool protobuf, const Fault& fault);
    [[nodiscard]] bool answer_watch(Out& out, const Asked& asked, bool protobuf, const Fault& fault);
    [[nodiscard]] bool refuse(Out& out, int status, const std::string& reason, const std::string& message,
                              int retry_after, const std::string& causes = {});
    [[nodiscard]] std::string list_text(const Asked& asked, bool protobuf, std::string& error);
    [[nodiscard]] std::string event_text(std::string_view type, Stored& stored, bool protobuf) const;
    [[nodiscard]] std::string bookmark_text(api::Kind kind, std::uint64_t version, bool initial_end,
                                            bool protobuf) const;
    void drop_connections();

    std::uint16_t port_ = 0;
    Fd listener_;   // of accept_thread_ while it runs
    Fd namespace_;  // where it listens
    std::thread accept_thread_;
    std::atomic<bool> listening_ = false;
    std::atomic<std::size_t> open_watches_ = 0;
    std::atomic<std::chrono::milliseconds> bookmark_interval_{std::chrono::milliseconds(1000)};
    std::atomic<bool> protobuf_ = true;
    std::atomic<bool> streaming_lists_ = true;

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::map<api::ObjectKey, std::shared_ptr<Stored>> objects_;  // guarded by mutex_
    std::deque<Event> history_;                                  // guarded by mutex_
    std::uint64_t version_ = 1000;                               // guarded by mutex_
    std::uint64_t oldest_ = 1000;                                // guarded by mutex_; versions before are compacted
    std::uint64_t epoch_ = 0;                                    // guarded by mutex_; grows when all watches shall end
    std::function<Fault(const Asked&)> fault_;                   // guarded by mutex_
    std::vector<Asked> requests_;                                // guarded by mutex_
    std::list<Connection> connections_;                          // guarded by mutex_
};

}  // namespace ghostip::testkubernetes

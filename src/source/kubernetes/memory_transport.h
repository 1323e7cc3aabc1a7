// The twin of curl_transport.h: a test reads what was asked and scripts the answer, piece by piece.
//
//     MemoryTransport server;
//     server.on_request([&](RequestId id, const Request& request) {   // or look into open_requests() later
//         server.head(id, 200, "application/json");
//         server.body(id, "{}");
//         server.end(id);
//     });
//
// Pieces wait until run_for(), which delivers all that waited when it was called, in the order in which they were
// scripted; what handlers cause while it does comes with the next call. An answer that is not ended is silence.
// Scripting, looking and wake() may be done from any thread; on_request()'s function runs on the thread that sends.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <variant>

#include "source/kubernetes/transport.h"

namespace ghostip::source::kubernetes {

class MemoryTransport : public Transport {
  public:
    // What run_for() does when nothing waits.
    enum class Idle : std::uint8_t {
        kReturn,  // returns at once: for tests that hold the clock, see on_idle()
        kWait,    // waits as the real one does: for tests whose source runs on a thread
    };
    explicit MemoryTransport(Idle idle = Idle::kReturn) : idle_(idle) {}

    struct Sent {
        RequestId id = 0;
        Request request;
    };
    using OnRequest = std::function<void(RequestId, const Request&)>;
    // Set before the first send(). May script the answer at once.
    void on_request(OnRequest answer) { on_request_ = std::move(answer); }
    // Told how long run_for() would have waited, with kReturn: the place to move a test's clock.
    void on_idle(std::function<void(std::chrono::milliseconds)> idle) { on_idle_ = std::move(idle); }

    // Of a request that has ended or was cancelled: nothing happens.
    void head(RequestId id, ResponseHead head);
    void head(RequestId id, int status, std::string content_type) {
        head(id, {status, std::move(content_type), {}, {}});
    }
    void body(RequestId id, std::string bytes);
    void end(RequestId id, std::optional<TransportError> error = std::nullopt);
    void end(RequestId id, TransportError::Kind kind, std::string message) {
        end(id, TransportError{kind, std::move(message)});
    }
    // Head, body and end.
    void answer(RequestId id, int status, std::string content_type, std::string bytes);
    // Ends every open request with this error: the server went away.
    void break_all(const TransportError& error);

    // In the order of sending: neither cancelled nor with an end that is delivered.
    [[nodiscard]] std::vector<Sent> open_requests() const;
    [[nodiscard]] std::size_t sent_count() const;

    [[nodiscard]] RequestId send(Request request, ResponseHandler& handler) override;
    void cancel(RequestId id) override;
    void run_for(std::chrono::milliseconds limit) override;
    void wake() override;

  private:
    struct End {
        std::optional<TransportError> error;
    };
    using Content = std::variant<ResponseHead, std::string, End>;
    struct Piece {
        RequestId id = 0;
        Content content;
    };
    struct Open {
        Request request;
        ResponseHandler* handler = nullptr;
        bool ended = false;  // an end is scripted: what comes behind it is dropped
    };

    void script(RequestId id, Content content);
    void deliver(const Piece& piece);

    const Idle idle_;
    OnRequest on_request_;                                    // constant once requests are sent
    std::function<void(std::chrono::milliseconds)> on_idle_;  // the same

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::map<RequestId, Open> open_;  // guarded by mutex_
    std::deque<Piece> waiting_;       // guarded by mutex_
    RequestId last_id_ = 0;           // guarded by mutex_
    bool woken_ = false;              // guarded by mutex_
};

}  // namespace ghostip::source::kubernetes

// One request to list or watch and the reading of its answer: picks the decoder by what the server says it sends,
// tells success from a Status in disguise, and ends exactly once. Knows nothing of rounds, retries and stores.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/stream.h"
#include "source/kubernetes/transport.h"
#include "source/kubernetes/trouble.h"

namespace ghostip::source::kubernetes {

// How it ended. No trouble: a list is whole, a watch was closed by the server between two events.
struct Ending {
    std::optional<Trouble> trouble;
    bool opened = false;   // the answer began as one that can be read
    api::ListMeta list{};  // of a list without trouble
};

class ExchangeUser {
  public:
    virtual ~ExchangeUser() = default;
    virtual void opened() = 0;
    virtual void received(api::Received received) = 0;  // no kError: that is an ending
    virtual void problem(api::Problem problem) = 0;
    virtual void warning(const std::string& text) = 0;  // of the server to its client
    // Bytes have been read, and what they held was received. The exchange may be given up here.
    virtual void fed() = 0;
    // The last call; nothing is sent or read any more. The exchange may be given up, but not destroyed, here.
    virtual void ended(Ending ending) = 0;
};

class Exchange final : private ResponseHandler, private api::StreamSink {
  public:
    enum class Form : std::uint8_t { kList, kWatch };

    // Sends at once. Both references outlive the exchange.
    Exchange(Transport& transport, Request request, Form form, api::Kind kind, ExchangeUser& user);
    // Cancels.
    ~Exchange() override { cancel(); }
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    // Nothing comes any more. Also from within the user's functions.
    void cancel();

  private:
    void on_head(const ResponseHead& head) override;
    void on_body(std::string_view bytes) override;
    void on_end(const std::optional<TransportError>& error) override;
    void received(api::Received received) override;
    void problem(api::Problem problem) override;

    void finish(std::optional<Trouble> trouble, api::ListMeta list = {});
    [[nodiscard]] std::optional<Trouble> read_end(const std::optional<TransportError>& error, api::ListMeta& list);
    [[nodiscard]] Trouble garbage(const Error& error) const;

    Transport& transport_;
    const Form form_;
    const api::Kind kind_;
    ExchangeUser& user_;
    RequestId id_ = 0;
    bool over_ = false;

    ResponseHead head_;
    std::unique_ptr<api::ListDecoder> list_;    // one of the two once a success has begun
    std::unique_ptr<api::WatchDecoder> watch_;  //
    std::string start_;                         // of the body, for messages and for a Status
    std::optional<api::Status> error_event_;
};

}  // namespace ghostip::source::kubernetes

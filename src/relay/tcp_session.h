// One TCP connection of a client: dials an endpoint, the next one where that fails, then carries bytes both ways until
// both have ended. Belongs to the thread that accepted it; deletes itself.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "relay/flow.h"
#include "relay/loop.h"
#include "relay/metrics.h"
#include "relay/service.h"

namespace ghostip::relay {

class Worker;
struct InWorker;

// A client whom somebody accepted, with its place in the relay's and the service's limits.
struct Accepted {
    Fd socket;
    SocketAddress client;
    SocketAddress destination;  // what it dialled; only known where the owner or an endpoint wants to know
    std::shared_ptr<Service> service;
};

// Closes so that the peer gets a reset.
void reset(Fd socket);

class TcpSession final : public ListHook<InWorker>,
                         public ListHook<InService>,
                         public Timed,
                         public TakesTurns,
                         public EventSink {
  public:
    static void start(Worker& worker, Accepted accepted);

    // Both sides get a reset.
    void cut();
    [[nodiscard]] bool established() const { return state_ == State::kEstablished; }
    [[nodiscard]] const SocketAddress& endpoint() const { return endpoint_address_; }

  private:
    enum class State : std::uint8_t { kDialling, kEstablished, kOver };

    // epoll names one side by it.
    class Side final : public EventSink {
      public:
        explicit Side(TcpSession& session) : session_(session) {}
        void on_events(std::uint32_t events) override;
        Fd socket;
        Readiness ready;

      private:
        TcpSession& session_;
    };

    TcpSession(Worker& worker, Accepted accepted);

    void on_events(std::uint32_t /*events*/) override {}
    void on_deadline() override;
    void on_turn() override;
    template <typename Step>
    void guarded(Step step);
    void on_side(Side& side, std::uint32_t events);

    void dial();
    [[nodiscard]] bool dial_one(const SocketAddress& endpoint);
    void dial_failed();
    [[nodiscard]] bool established_by(std::uint32_t events);
    [[nodiscard]] bool connected();
    void carry();
    [[nodiscard]] bool carry_one(Flow& flow, Side& from, Side& to, bool& ended, Counter& bytes);
    void refuse(Refusal why);
    void over();

    Worker& worker_;
    const std::shared_ptr<Service> service_;
    Lane& lane_;
    const SocketAddress client_address_;
    const SocketAddress destination_;
    SocketAddress endpoint_address_;
    std::uint64_t pool_generation_ = 0;  // when the endpoint was picked
    std::vector<SocketAddress> tried_;   // without success; mostly empty
    const TimePoint started_;
    Side client_;
    Side endpoint_;
    Flow to_endpoint_;
    Flow to_client_;
    State state_ = State::kDialling;
    std::uint8_t attempt_ = 0;
    bool starved_ = false;  // there is no descriptor for this attempt
    bool client_ended_ = false;
    bool endpoint_ended_ = false;
};

}  // namespace ghostip::relay

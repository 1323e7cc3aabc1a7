// Takes TCP connections from listening sockets, for one thread. Where a limit is reached or descriptors run out, it
// takes none for a while: clients wait in the backlogs, and nothing spins. Then only the sockets at which somebody
// waits are touched: there may be thousands of others.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "relay/listen_sockets.h"
#include "relay/loop.h"
#include "relay/tcp_session.h"

namespace ghostip::relay {

class Acceptor {
  public:
    enum class Pause : std::uint8_t { kLimit, kDescriptors };
    // Whether other threads take from the same socket; then the kernel wakes only one.
    enum class Sharing : std::uint8_t { kAlone, kShared };

    explicit Acceptor(Worker& worker);

    [[nodiscard]] Result<void> add(const std::shared_ptr<const Listening>& listening,
                                   const std::shared_ptr<const Fd>& socket, Sharing sharing);
    void remove(ListenerId listener);
    void close_all();

    void pause(Pause why);
    void resume();
    // A connection has ended.
    void room_again() {
        if (paused_ && why_ == Pause::kLimit) resume();
    }

  private:
    class Held;
    class Source final : public EventSink {
      public:
        Source(Acceptor& acceptor, std::shared_ptr<const Listening> its_listening, std::shared_ptr<const Fd> its_socket,
               std::uint32_t its_events)
            : listening(std::move(its_listening)),
              socket(std::move(its_socket)),
              events(its_events),
              acceptor_(acceptor) {}
        void on_events(std::uint32_t /*events*/) override { acceptor_.on_clients(*this); }

        const std::shared_ptr<const Listening> listening;
        const std::shared_ptr<const Fd> socket;
        const std::uint32_t events;
        int burst = 1;       // so many are taken at once: as many as came together before
        bool muted = false;  // not watched during this pause

      private:
        Acceptor& acceptor_;
    };

    // The next look at whether there is room again. Not a task of the loop: that would take memory, which may be what
    // is missing.
    class Look final : public Timed {
      public:
        explicit Look(Acceptor& acceptor) : acceptor_(acceptor) {}
        void on_deadline() override { acceptor_.look(); }

      private:
        Acceptor& acceptor_;
    };

    void look_again();
    void look();
    void on_clients(Source& source);
    void accept_from(Source& source);
    // False: no more now.
    [[nodiscard]] bool accept_one(Source& source);
    void admit(const Listening& listening, Fd socket, const SocketAddress& client);
    void give_place_back();
    void hold(Fd socket);

    Worker& worker_;
    std::unordered_map<ListenerId, std::vector<std::unique_ptr<Source>>> sources_;
    Line held_;
    std::array<Line, 2> looks_;  // by why
    Look look_;
    bool paused_ = false;
    Pause why_ = Pause::kLimit;
};

}  // namespace ghostip::relay

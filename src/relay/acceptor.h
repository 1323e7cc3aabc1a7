// Takes TCP connections from listening sockets, for one thread. Where a limit is reached or descriptors run out, it
// takes none for a while: clients wait in the backlogs, and nothing spins.
//
// The sockets are in an epoll set of their own, which is one descriptor in the thread's: so a pause is one system call,
// however many listeners there are.
#pragma once

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

class Acceptor final : public EventSink {
  public:
    enum class Pause : std::uint8_t { kLimit, kDescriptors };
    // Whether other threads take from the same socket; then the kernel wakes only one.
    enum class Sharing : std::uint8_t { kAlone, kShared };

    explicit Acceptor(Worker& worker);
    [[nodiscard]] Result<void> prepare();

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
    struct Source {
        std::shared_ptr<const Listening> listening;
        std::shared_ptr<const Fd> socket;
    };
    class Held;

    void on_events(std::uint32_t events) override;
    // False: no more now.
    [[nodiscard]] bool accept_from(const Source& source);
    void admit(const Listening& listening, Fd socket, const SocketAddress& client);
    void give_place_back();
    void hold(Fd socket);

    Worker& worker_;
    Fd set_;
    std::unordered_map<ListenerId, std::vector<std::unique_ptr<Source>>> sources_;
    Line held_;
    bool paused_ = true;
    bool will_resume_ = false;
    Pause why_ = Pause::kLimit;
};

}  // namespace ghostip::relay

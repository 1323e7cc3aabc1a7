// Listeners go from one process to the next through a unix socket, while clients come. What waits in a backlog goes
// with them, so nobody is refused. Knows sockets and their names only; who owns them gives the names a meaning.
//
//     old process                                            new process
//     HandoverServer::open(path)                             Handover::ask(path)
//     successor_came() -> listeners      ---- sockets --->   listeners(): adopt them
//     successor_writes()                 <-- about_to_write() --
//     let_go(): hold them                <---- done() ----
//                                        ---- clients --->   serve, go on with the clients
//     taken(): close, drain, end         <---------------    then HandoverServer::continue_from(handover)
//
// Until done() the old process serves, and until about_to_write() it follows what changes. (Both may, where nothing is
// to be known of clients.) While clients are handed over nobody takes anything from the sockets, where it waits; so
// what is known of clients is all, and true when the new process begins. A successor that dies, stalls or talks
// nonsense before leaves the old process as it was. Both sides go by deadlines, believe no count that they have not
// checked, and let in only processes of their own user or root. The socket at the path is handed over too: the file
// stays, and who comes at the wrong moment waits in its backlog. A path that begins with `@` is no file but a name in
// the network namespace (abstract, unix(7)).
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "net/protocol.h"
#include "relay/clients.h"

namespace ghostip::relay {

struct NamedListener {
    std::string name;                              // 1 to 255 bytes, not twice
    net::Protocol protocol = net::Protocol::kTcp;  // TCP or UDP
    std::vector<Fd> sockets;                       // at least one; Relay::duplicate() gives them
};

// --- the old process

// Called on the server's thread, one at a time. None of them may destroy the server.
struct HandoverCallbacks {
    // Returns what it is to get. An error is told to it, and nothing else follows.
    std::function<Result<std::vector<NamedListener>>()> successor_came;
    // Stop to write what a successor writes too, keep on serving. Null: nothing is written.
    std::function<void()> successor_writes = nullptr;
    // The successor serves: close the listeners, drain, end. Nobody else is let in from now on.
    std::function<void()> taken;
    // Go on as before.
    std::function<void(const Error&)> successor_failed;

    // The successor is about to serve at these, which it has adopted: serve there no more (Relay::hold()). What it is
    // to know of their clients; what is beyond the limits of Clients does not go. Null: nothing is.
    std::function<Clients(const std::vector<std::string>& adopted)> let_go = nullptr;
    // With let_go: it does not serve after all: serve there again, with these sessions. successor_failed follows.
    std::function<void(Clients)> take_back = nullptr;
};

struct HandoverTimeouts {
    std::chrono::milliseconds step = std::chrono::seconds(5);  // for each message that the other side owes
    // From the last socket to about_to_write(), its first list, and from there to done(), its first sync.
    std::chrono::milliseconds taken = std::chrono::minutes(2);
};

class Handover;

// Waits for successors on a thread of its own, until destroyed. A successor whose hand-over is cut by that counts as
// the one who serves, as if this process had died.
class HandoverServer {
  public:
    // A dead process's socket file is replaced; where somebody listens, that is an error (EADDRINUSE). Of two that find
    // the same dead one's at the same moment, the later one has the path.
    [[nodiscard]] static Result<std::unique_ptr<HandoverServer>> open(const std::string& path,
                                                                      HandoverCallbacks callbacks,
                                                                      HandoverTimeouts timeouts = {});
    // In place of the predecessor, after done(). Needs no rights on the folder.
    [[nodiscard]] static Result<std::unique_ptr<HandoverServer>> continue_from(Handover& handover,
                                                                               HandoverCallbacks callbacks,
                                                                               HandoverTimeouts timeouts = {});
    // After taken(): the process that was the successor then has ended. Any thread.
    [[nodiscard]] virtual bool successor_ended() const = 0;
    // Whether anybody waits for successors there.
    [[nodiscard]] static bool somebody_waits(const std::string& path);

    HandoverServer() = default;
    HandoverServer(const HandoverServer&) = delete;
    HandoverServer& operator=(const HandoverServer&) = delete;
    virtual ~HandoverServer() = default;
};

// --- the new process

// What a predecessor has handed over. Destroyed without done(), the predecessor goes on as before. One thread.
class Handover {
  public:
    // Waits for the predecessor at most so long in all. Absent: nobody listens there. An error with code EBUSY: it has
    // another successor.
    [[nodiscard]] static Result<std::optional<Handover>> ask(const std::string& path,
                                                             std::chrono::milliseconds timeout);
    // By name; take out of it what is adopted. What stays here is closed with this object.
    [[nodiscard]] std::map<std::string, NamedListener>& listeners() { return listeners_; }
    // Readable before done(): the predecessor has something to say, see heard(). After done(): until this object ends,
    // the predecessor knows that this process lives.
    [[nodiscard]] int fd() const { return predecessor_.get(); }
    // Before done(), when fd() is readable. ECANCELED: it goes on by itself, as it had waited too long; ECONNRESET: it
    // is dead.
    [[nodiscard]] Error heard() const;
    // Before the first thing is written that a predecessor writes too: when this returns it writes no more. Nothing
    // more is said where it had stopped when it was asked. Errors as those of done(); after one it goes on by itself as
    // soon as this object ends.
    [[nodiscard]] Result<void> about_to_write(std::chrono::milliseconds timeout) const;
    // This process serves when this returns: the predecessor may go. `adopted`: the names of listeners whose clients it
    // goes on with. An error: it goes on by itself (ECANCELED), or does not answer within the time, for any of the
    // messages that it owes. A predecessor that is dead is none; what it has told before is true.
    [[nodiscard]] Result<Clients> done(const std::vector<std::string>& adopted = {},
                                       std::chrono::milliseconds timeout = std::chrono::seconds(5));

  private:
    friend class HandoverServer;
    Handover(std::string path, Fd predecessor) : path_(std::move(path)), predecessor_(std::move(predecessor)) {}
    Result<void> receive_all(std::chrono::steady_clock::time_point deadline);
    Result<void> tell_adopted(const std::vector<std::string>& names, std::chrono::milliseconds timeout) const;
    Result<void> receive_clients(Clients& clients, std::chrono::milliseconds timeout) const;

    std::string path_;
    Fd predecessor_;
    bool done_ = false;
    bool knows_clients_ = false;
    bool waits_for_writes_ = false;
    Fd at_path_;  // the socket that listens there
    std::map<std::string, NamedListener> listeners_;
};

}  // namespace ghostip::relay

// What two processes say to each other when listeners go from one to the other: one message a packet of a unix socket
// of type SOCK_SEQPACKET, descriptors beside it. In the byte order of the host, as it never leaves it.
//
//     0        4         6      8
//     | magic  | version | kind | body
//
//     successor     ask                next ...   next         taken
//     predecessor        offer, batch      batch ...   end           released
//
// With the offer comes the socket on which the predecessor listens for successors.
// The predecessor sends a batch only when the one before was taken in, so what is under way is bounded: the kernel
// limits descriptors in flight by RLIMIT_NOFILE.
//
// Where both have said in ask and offer that they know of clients (feature::kClients), what the predecessor knows of
// those at the adopted listeners comes at the end, when it serves there no more:
//
//     successor     adopted ...   taken                         next ...   next
//     predecessor             next     affinities or sessions       ...         released
//
// Where both have said that they know when the successor writes (feature::kWrites), the predecessor goes on with all
// that it does until it is told, between end and adopted; else it stops to write what both do at the ask:
//
//     successor     writes
//     predecessor           next
//
// What comes after this is a feature too: another bit, and kinds of messages that are sent only where both have said
// it. Features that the other side does not know are no error; unknown kinds are, as nobody owes them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "net/protocol.h"
#include "relay/clients.h"

namespace ghostip::relay::wire {

inline constexpr std::uint16_t kVersion = 1;
inline constexpr std::size_t kMostDescriptors = 253;  // SCM_MAX_FD of the kernel
inline constexpr std::size_t kLongestName = 255;
inline constexpr std::size_t kLongestText = 1024;
// Below any net.core.wmem_default, so that a message fits or the other side does not read.
inline constexpr std::size_t kLongestMessage = std::size_t{32} * 1024;

enum class Kind : std::uint16_t {
    kAsk = 1,
    kOffer,
    kBatch,
    kNext,
    kEnd,
    kTaken,
    kReleased,
    kBusy,
    kRefused,
    kWithdrawn,  // the predecessor has waited too long
    kAdopted,
    kAffinities,
    kSessions,  // each with its socket, in order
    kWrites,
};

namespace feature {
inline constexpr std::uint32_t kClients = 1;
inline constexpr std::uint32_t kWrites = 2;
inline constexpr std::uint32_t kAll = kClients | kWrites;
}  // namespace feature

// So many of the descriptors beside it, in order. A listener with more than fit comes in several batches.
struct Entry {
    std::string name;
    net::Protocol protocol = net::Protocol::kTcp;
    std::uint16_t sockets = 0;

    [[nodiscard]] std::size_t size() const { return kHead + name.size(); }
    static constexpr std::size_t kHead = 5;
    friend bool operator==(const Entry&, const Entry&) = default;
};

struct Message {
    Kind kind = Kind::kAsk;
    std::uint32_t listeners = 0;  // kOffer: how many come in all
    std::uint32_t sockets = 0;
    std::uint32_t features = 0;                  // kAsk, kOffer: bits; absent in the message where there are none
    std::vector<Entry> entries = {};             // kBatch
    std::string text = {};                       // kBusy, kRefused, kWithdrawn: why
    std::vector<std::string> names = {};         // kAdopted
    std::vector<NamedAffinity> affinities = {};  // kAffinities
    std::vector<NamedFlow> sessions = {};        // kSessions

    friend bool operator==(const Message&, const Message&) = default;
};

// At most so many bytes of a message.
[[nodiscard]] std::size_t size_of(std::string_view name);
[[nodiscard]] std::size_t size_of(const NamedAffinity& affinity);
[[nodiscard]] std::size_t size_of(const NamedFlow& session);
inline constexpr std::size_t kHead = 8;

[[nodiscard]] std::string encode(const Message& message);
// An error with code EPROTONOSUPPORT: another version.
[[nodiscard]] Result<Message> parse(std::string_view bytes);

// Does not wait: a message that does not fit is an error, as the other side owes it to read.
[[nodiscard]] Result<void> send(int socket, const Message& message, std::span<const Fd> descriptors = {});

// kTakeSome: those for which this process has no room are lost, the first of them arrive.
enum class Descriptors : std::uint8_t { kRefuse, kTake, kTakeSome };
struct Received {
    Message message;
    std::vector<Fd> descriptors;
};
// Waits until the deadline. Absent: the other side is gone.
[[nodiscard]] Result<std::optional<Received>> receive(int socket, std::chrono::steady_clock::time_point deadline,
                                                      Descriptors descriptors);

// Whether the other side is a process of this user, or of root.
[[nodiscard]] Result<void> check_peer(int socket);

// A socket of the kind that both use.
[[nodiscard]] Result<Fd> open_socket();
// Absent: nobody listens there. Waits so long where too many others wait to be accepted.
[[nodiscard]] Result<std::optional<Fd>> connect_to(const std::string& path, std::chrono::milliseconds patience);

}  // namespace ghostip::relay::wire

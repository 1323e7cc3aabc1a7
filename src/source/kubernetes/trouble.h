// Why a request came to nothing, sorted by what is to be done; and who has been told.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>

#include "api/stream.h"
#include "base/log.h"
#include "source/kubernetes/backoff.h"
#include "source/kubernetes/transport.h"

namespace ghostip::source::kubernetes {

struct Trouble {
    enum class Kind : std::uint8_t {
        kUnreachable,    // refused, no trust, no credentials: the server has not seen the request
        kBroken,         // no answer, or not to its end
        kThrottled,      // asked to come back later
        kExpired,        // the resource version is too old
        kTooLarge,       // the resource version is newer than anything that the server knows
        kNotAcceptable,  // the server does not speak protobuf
        kRejected,       // any other answer that is no success
        kGarbage,        // the answer makes no sense
        kShort,          // a watch that ended before it began
        kStalled,        // open, but nothing comes
    };
    Kind kind = Kind::kRejected;
    int code = 0;      // of HTTP or the Status; 0: none
    std::string text;  // what happened, with the server's own words
    std::optional<std::chrono::seconds> retry_after = {};
    int sort = 0;  // tells apart what has one kind and no code: refused, not trusted
};

[[nodiscard]] Trouble trouble_of(const TransportError& error);
[[nodiscard]] Trouble trouble_of(const api::Status& status);
// Of an answer whose status is no success. `body` may be cut.
[[nodiscard]] Trouble trouble_of(const ResponseHead& head, std::string_view body);

// Says each kind of trouble once, however often it is met, and once that it is over. Not a log of its own: gives the
// lines to write.
class TroubleLog {
  public:
    // What was being done. Success at one says nothing about the others: who may list may not watch.
    enum class Doing : std::uint8_t { kListing, kWatching };

    // Counts a try; whether this kind is new since the last success.
    [[nodiscard]] bool meet(Doing doing, const Trouble& trouble, Clock::time_point now);
    // `after 12 failed tries in 95 s`; nothing: there was no trouble.
    [[nodiscard]] std::optional<std::string> over(Doing doing, Clock::time_point now);
    [[nodiscard]] bool any(Doing doing) const { return !of(doing).said.empty(); }

  private:
    struct Spell {
        std::set<std::tuple<Trouble::Kind, int, int>> said;
        Clock::time_point since;
        int tries = 0;
    };
    [[nodiscard]] const Spell& of(Doing doing) const { return doing == Doing::kListing ? listing_ : watching_; }

    Spell listing_;
    Spell watching_;
};

}  // namespace ghostip::source::kubernetes

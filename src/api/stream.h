// What an API server answers to list and watch, read as it arrives: bytes are fed in, objects come out.
//
// Both encodings are decoded by the rules of decode.h into the structs of objects.h. One object is held at a time, of
// at most 16 MiB, whatever the size of the list. An object that does not decode is named in a problem and handed on
// without its value, so that whoever keeps an earlier state of it can go on with that. Single-threaded.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "api/objects.h"
#include "api/problem.h"
#include "base/result.h"

namespace ghostip::api {

enum class Encoding : std::uint8_t { kJson, kProtobuf };

// `application/json`, `application/vnd.kubernetes.protobuf`, both also with parameters (`;stream=watch`, charset).
[[nodiscard]] std::optional<Encoding> encoding_of(std::string_view content_type);

// v1 Status, as far as a client acts on it.
struct Status {
    int code = 0;         // as HTTP has them; 410: the resource version is too old
    std::string reason;   // `Expired`
    std::string message;  // for people
    int retry_after_seconds = 0;
    bool resource_version_too_large = false;  // a cause or the message says so: the server has not come that far yet

    friend bool operator==(const Status&, const Status&) = default;
};

enum class EventType : std::uint8_t { kAdded, kModified, kDeleted, kBookmark, kError };

// An event of a watch, or (as kAdded) an item of a list.
struct Received {
    EventType type = EventType::kAdded;
    ObjectKey key;                    // an empty name: it could not be told
    std::optional<Object> object;     // not with kBookmark and kError; else absent: it does not decode
    std::string resource_version;     // metadata.resourceVersion; may be empty
    bool initial_events_end = false;  // kBookmark: annotation k8s.io/initial-events-end is "true"
    Status status = {};               // kError
};

class StreamSink {
  public:
    virtual ~StreamSink() = default;
    virtual void received(Received received) = 0;
    // Notices too. Comes before the object that it is about.
    virtual void problem(Problem problem) = 0;
};

// Objects of another kind than `kind` are problems and not handed on.
class WatchDecoder {
  public:
    [[nodiscard]] static std::unique_ptr<WatchDecoder> create(Encoding encoding, Kind kind, StreamSink& sink);
    virtual ~WatchDecoder() = default;
    // Any cut of the stream. An error: the stream makes no sense from here on; nothing more can be fed.
    [[nodiscard]] virtual Result<void> feed(std::string_view bytes) = 0;
    // The stream ended: an error if that was inside of an event.
    [[nodiscard]] virtual Result<void> finish() = 0;
};

// metadata of a list.
struct ListMeta {
    std::string resource_version;
    std::string continue_token;  // empty: this was the last page
};

class ListDecoder {
  public:
    [[nodiscard]] static std::unique_ptr<ListDecoder> create(Encoding encoding, Kind kind, StreamSink& sink);
    virtual ~ListDecoder() = default;
    [[nodiscard]] virtual Result<void> feed(std::string_view bytes) = 0;
    // The body ended: an error if it is not whole, or is no list of that kind.
    [[nodiscard]] virtual Result<ListMeta> finish() = 0;
};

// The body of an answer that is no success, or of one that is a Status all the same. An error: it is something else.
[[nodiscard]] Result<Status> decode_status(Encoding encoding, std::string_view body);

}  // namespace ghostip::api

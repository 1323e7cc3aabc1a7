#include "api/stream.h"

#include <simdjson.h>

#include <algorithm>

#include "api/codec/json_stream.h"
#include "api/codec/peek.h"
#include "api/codec/protobuf_stream.h"
#include "api/codec/protobuf_tree.h"

namespace ghostip::api {
namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kProtobuf = "application/vnd.kubernetes.protobuf";

// Names of media types are the same in capitals (RFC 9110, 8.3.1).
bool is_type(std::string_view given, std::string_view name) {
    return std::equal(given.begin(), given.end(), name.begin(), name.end(), [](char character, char lower) {
        return character == lower || (character >= 'A' && character <= 'Z' && character - 'A' + 'a' == lower);
    });
}

Result<Status> status_or_error(const codec::Tree& tree, std::string_view kind) {
    if (auto status = codec::status_of(tree, tree.root())) return *std::move(status);
    return fail("the answer is no Status, but {}", kind.empty() ? "without a kind" : "a \"" + printable(kind) + "\"");
}

Result<Status> json_status(std::string_view body) {
    std::string padded(body);
    padded.resize(body.size() + simdjson::SIMDJSON_PADDING);
    codec::JsonTree json;
    codec::Tree tree;
    const auto reading = json.read(std::string_view(padded).substr(0, body.size()), 0, tree);
    if (reading.outcome != codec::JsonOutcome::kRead) return fail("the answer is no Status in JSON: {}", reading.flaw);
    return status_or_error(tree, codec::peek_text(tree, &tree.root(), "kind"));
}

Result<Status> protobuf_status(std::string_view body) {
    const auto envelope = codec::open_envelope(body);
    if (!envelope) return envelope.error().within("the answer is no Status in protobuf");
    codec::Tree tree;
    if (const auto flaw = codec::read_protobuf(envelope->raw, codec::kStatusMessage, tree))
        return fail("the answer is no Status in protobuf: {} {}", flaw->field, flaw->message);
    tree.add(0, "kind", {.kind = codec::NodeKind::kString, .text = envelope->type.kind});
    tree.add(0, "apiVersion", {.kind = codec::NodeKind::kString, .text = envelope->type.api_version});
    return status_or_error(tree, envelope->type.kind);
}

}  // namespace

std::optional<Encoding> encoding_of(std::string_view content_type) {
    std::string_view type = content_type.substr(0, content_type.find(';'));
    while (!type.empty() && (type.front() == ' ' || type.front() == '\t')) type.remove_prefix(1);
    while (!type.empty() && (type.back() == ' ' || type.back() == '\t')) type.remove_suffix(1);
    if (is_type(type, kJson)) return Encoding::kJson;
    if (is_type(type, kProtobuf)) return Encoding::kProtobuf;
    return std::nullopt;
}

std::unique_ptr<WatchDecoder> WatchDecoder::create(Encoding encoding, Kind kind, StreamSink& sink) {
    if (encoding == Encoding::kJson) return std::make_unique<codec::JsonWatch>(kind, sink);
    return std::make_unique<codec::ProtobufWatch>(kind, sink);
}

std::unique_ptr<ListDecoder> ListDecoder::create(Encoding encoding, Kind kind, StreamSink& sink) {
    if (encoding == Encoding::kJson) return std::make_unique<codec::JsonList>(kind, sink);
    return std::make_unique<codec::ProtobufList>(kind, sink);
}

Result<Status> decode_status(Encoding encoding, std::string_view body) {
    return encoding == Encoding::kJson ? json_status(body) : protobuf_status(body);
}

}  // namespace ghostip::api

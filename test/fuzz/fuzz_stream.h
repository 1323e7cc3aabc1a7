// What must hold for whatever bytes come from an API server: no crash, the same whatever pieces they come in, an object
// that is missing was explained, and one that is there goes through JSON and back unchanged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <fmt/format.h>

#include "api/stream.h"
#include "fuzz_codec.h"

namespace ghostip::fuzz {

// What a stream yielded, a line each.
class Lines : public api::StreamSink {
  public:
    void received(api::Received one) override {
        const bool valued = one.type != api::EventType::kBookmark && one.type != api::EventType::kError;
        if (valued && !one.object && !explained_) Sink::die("an object is missing without a word", one.key.text());
        if (!valued && one.object) Sink::die("an object where none can be", one.key.text());
        if (one.object) {
            const std::string json = api::to_json(*one.object);
            const Sink back = run(json, api::Format::kJson, std::string_view::npos);
            if (back.objects.size() != 1 || !back.problems.empty()) Sink::die("is not read back", json);
            if (!api::same_content(back.objects[0], *one.object)) Sink::die("is read back as another", json);
            if (api::key_of(*one.object) != one.key) Sink::die("has another key than its object", json);
        }
        lines.push_back(fmt::format("{} {} {} {} {} {}", static_cast<int>(one.type), one.key.text(),
                                    one.resource_version, one.initial_events_end, one.status.code,
                                    one.object ? api::to_json(*one.object) : ""));
        explained_ = false;
    }
    void problem(api::Problem problem) override {
        for (const auto& part : {problem.object, problem.field, problem.value, problem.message})
            if (part.find('\n') != std::string::npos) Sink::die("a problem of several lines", part);
        explained_ = explained_ || problem.severity == api::Severity::kError;
        lines.push_back(problem.text());
    }

    std::vector<std::string> lines;

  private:
    bool explained_ = false;
};

template <typename Decoder>
std::vector<std::string> stream_lines(api::Encoding encoding, api::Kind kind, std::string_view bytes,
                                      std::size_t piece) {
    Lines lines;
    const auto decoder = Decoder::create(encoding, kind, lines);
    Result<void> fed;
    for (std::size_t at = 0; at < bytes.size() && fed; at += piece) fed = decoder->feed(bytes.substr(at, piece));
    if (!fed) {
        // What it quotes is as much as has come.
        lines.lines.push_back(fed.error().message.substr(0, fed.error().message.find('"')));
    } else if (const auto end = decoder->finish(); !end) {
        lines.lines.push_back(end.error().message);
    } else if constexpr (std::is_same_v<Decoder, api::ListDecoder>) {
        lines.lines.push_back(end->resource_version + ' ' + end->continue_token);
    }
    return lines.lines;
}

// The first byte tells the kind.
template <typename Decoder>
void check_stream(const std::uint8_t* data, std::size_t size, api::Encoding encoding) {
    if (size == 0) return;
    const auto kind = static_cast<api::Kind>(data[0] % 4);
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    const auto whole = stream_lines<Decoder>(encoding, kind, bytes, bytes.size() + 1);
    if (stream_lines<Decoder>(encoding, kind, bytes, 3) != whole) Sink::die("depends on the pieces", bytes);
    static_cast<void>(api::decode_status(encoding, bytes));
}

}  // namespace ghostip::fuzz

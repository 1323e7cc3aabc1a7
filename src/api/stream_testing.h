// For tests: what a stream yields, and messages to feed it with, written by the numbers of Kubernetes' generated.proto
// (not by the tables that are tested).
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "api/stream.h"

namespace ghostip::api::testing {

class Stream : public StreamSink {
  public:
    void received(Received one) override { all.push_back(std::move(one)); }
    void problem(Problem problem) override {
        lines.push_back((problem.severity == Severity::kNotice ? "notice " : "") + problem.text());
    }

    std::vector<Received> all;
    std::vector<std::string> lines;  // one a problem; notices are marked
    Result<void> end;                // of feeding and finishing
    ListMeta meta;                   // of a list
};

// `MODIFIED Service rec/x 11958`; what an object is worth saying more of, behind it.
inline std::string text_of(const Received& one) {
    static constexpr std::array kTypes{"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"};
    const char* type = kTypes[static_cast<std::size_t>(one.type)];
    if (one.type == EventType::kError) return fmt::format("{} {} {}", type, one.status.code, one.status.reason);
    if (one.type == EventType::kBookmark)
        return fmt::format("{} {}{}", type, one.resource_version, one.initial_events_end ? " end" : "");
    return fmt::format("{} {} {}{}", type, one.key.text(), one.resource_version, one.object ? "" : " undecoded");
}

inline std::vector<std::string> texts(const Stream& stream) {
    std::vector<std::string> all;
    for (const auto& one : stream.all) all.push_back(text_of(one));
    return all;
}

inline bool same_trigger_time(const Object& a, const Object& b) {
    const auto* left = std::get_if<std::shared_ptr<const EndpointSlice>>(&a);
    const auto* right = std::get_if<std::shared_ptr<const EndpointSlice>>(&b);
    return left == nullptr || right == nullptr ||
           (*left)->last_change_trigger_time == (*right)->last_change_trigger_time;
}

inline bool same(const Received& a, const Received& b) {
    return text_of(a) == text_of(b) && a.key == b.key && a.object.has_value() == b.object.has_value() &&
           (!a.object || (same_content(*a.object, *b.object) && same_trigger_time(*a.object, *b.object))) &&
           a.status == b.status;
}

inline bool same(const Stream& a, const Stream& b) {
    return a.lines == b.lines && a.end.has_value() == b.end.has_value() &&
           (a.end || a.end.error().message == b.end.error().message) &&
           a.meta.resource_version == b.meta.resource_version && a.meta.continue_token == b.meta.continue_token &&
           std::equal(a.all.begin(), a.all.end(), b.all.begin(), b.all.end(),
                      [](const Received& x, const Received& y) { return same(x, y); });
}

// The pieces are fed one after the other.
inline Stream read_watch(Encoding encoding, Kind kind, const std::vector<std::string_view>& pieces) {
    Stream stream;
    const auto decoder = WatchDecoder::create(encoding, kind, stream);
    for (const auto piece : pieces)
        if (stream.end) stream.end = decoder->feed(piece);
    if (stream.end) stream.end = decoder->finish();
    return stream;
}

inline Stream read_list(Encoding encoding, Kind kind, const std::vector<std::string_view>& pieces) {
    Stream stream;
    const auto decoder = ListDecoder::create(encoding, kind, stream);
    for (const auto piece : pieces)
        if (stream.end) stream.end = decoder->feed(piece);
    if (!stream.end) return stream;
    if (auto meta = decoder->finish())
        stream.meta = *std::move(meta);
    else
        stream.end = std::move(meta).error();
    return stream;
}

// A protobuf message under construction.
class Message {
  public:
    Message& text(std::uint32_t number, std::string_view value) {
        protozero::pbf_writer(bytes_).add_bytes(number, value.data(), value.size());
        return *this;
    }
    Message& number(std::uint32_t number, std::int32_t value) {
        protozero::pbf_writer(bytes_).add_int32(number, value);
        return *this;
    }
    Message& boolean(std::uint32_t number, bool value) {
        protozero::pbf_writer(bytes_).add_bool(number, value);
        return *this;
    }
    Message& message(std::uint32_t number, const Message& value) { return text(number, value.bytes_); }
    Message& entry(std::uint32_t number, std::string_view key, std::string_view value) {
        return message(number, Message().text(1, key).text(2, value));
    }
    [[nodiscard]] const std::string& bytes() const { return bytes_; }

  private:
    std::string bytes_;
};

inline std::string envelope(std::string_view api_version, std::string_view kind, const Message& object) {
    return std::string("k8s\0", 4) + Message()
                                         .message(1, Message().text(1, api_version).text(2, kind))
                                         .message(2, object)
                                         .text(3, "")
                                         .text(4, "")
                                         .bytes();
}

inline std::string frame(std::string_view body) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(body.size() >> shift & 0xffU);
    return bytes.append(body);
}

inline std::string event(std::string_view type, std::string_view object) {
    return frame(Message().text(1, type).message(2, Message().text(1, object)).bytes());
}

// With the empty and zero fields that servers write.
inline Message metadata(std::string_view name, std::string_view namespace_, std::string_view version) {
    return Message()
        .text(1, name)
        .text(2, "")
        .text(3, namespace_)
        .text(4, "")
        .text(5, "72966adb-d9f8-4e43-952d-a1b6d270427e")
        .text(6, version)
        .number(7, 0)
        .message(8, Message().number(1, 1'764'000'000).number(2, 0));
}

// What generated lists consist of: a slice of five endpoints. The same, in either encoding.
inline Message slice_message(int i) {
    Message slice;
    slice.message(1, metadata(fmt::format("svc-{}-x", i), fmt::format("ns-{}", i % 100), fmt::format("{}", 1000 + i))
                         .entry(11, "kubernetes.io/service-name", fmt::format("svc-{}", i)));
    for (int k = 0; k < 5; ++k)
        slice.message(2, Message()
                             .text(1, fmt::format("10.{}.{}.{}", i / 256 % 256, i % 256, k + 1))
                             .message(2, Message().boolean(1, true).boolean(2, true).boolean(3, false))
                             .text(6, fmt::format("node-{}", k))
                             .text(7, "zone-a"));
    slice.message(3, Message().text(1, "http").text(2, "TCP").number(3, 8080));
    return slice.text(4, "IPv4");
}

inline std::string slice_json(int i) {
    std::string endpoints;
    for (int k = 0; k < 5; ++k)
        endpoints += fmt::format(
            R"({}{{"addresses":["10.{}.{}.{}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},"nodeName":"node-{}","zone":"zone-a"}})",
            k == 0 ? "" : ",", i / 256 % 256, i % 256, k + 1, k);
    return fmt::format(
        R"({{"metadata":{{"name":"svc-{}-x","namespace":"ns-{}","uid":"72966adb-d9f8-4e43-952d-a1b6d270427e","resourceVersion":"{}","creationTimestamp":"2026-11-23T01:49:41Z","labels":{{"kubernetes.io/service-name":"svc-{}"}}}},"addressType":"IPv4","endpoints":[{}],"ports":[{{"name":"http","protocol":"TCP","port":8080}}]}})",
        i, i % 100, 1000 + i, i, endpoints);
}

inline std::string slice_list(Encoding encoding, int count) {
    if (encoding == Encoding::kProtobuf) {
        Message list;
        list.message(1, Message().text(1, "").text(2, "9").text(3, ""));
        for (int i = 0; i < count; ++i) list.message(2, slice_message(i));
        return envelope("discovery.k8s.io/v1", "EndpointSliceList", list);
    }
    std::string list =
        R"({"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"9"},"items":[)";
    for (int i = 0; i < count; ++i) list += (i == 0 ? "" : ",") + slice_json(i);
    return list + "]}\n";
}

}  // namespace ghostip::api::testing

#include "source/kubernetes/event_body.h"

#include <algorithm>
#include <ctime>
#include <string_view>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace ghostip::source::kubernetes {
namespace {

constexpr std::size_t kNoteLimit = 1024;

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char character : text) {
        if (character == '"' || character == '\\')
            (out += '\\') += character;
        else if (static_cast<unsigned char>(character) < 0x20)
            out += fmt::format("\\u{:04x}", static_cast<unsigned char>(character));
        else
            out += character;
    }
    return out += '"';
}

// Not in the middle of a UTF-8 character.
std::string_view cut(std::string_view text, std::size_t limit) {
    if (text.size() <= limit) return text;
    while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80) --limit;
    return text.substr(0, limit);
}

// MicroTime: RFC 3339 with six digits.
std::string micro_time(WallTime time) {
    const auto micros = std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch());
    const auto seconds = std::chrono::floor<std::chrono::seconds>(micros);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(static_cast<std::time_t>(seconds.count())),
                       (micros - seconds).count());
}

bool is_dns_subdomain(std::string_view name) {
    constexpr std::size_t kLimit = 253;
    if (name.empty() || name.size() > kLimit) return false;
    const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    for (std::size_t i = 0; i < name.size(); ++i) {
        if (plain(name[i])) continue;
        const bool inside = i > 0 && i + 1 < name.size();
        if (!inside) return false;
        const bool beside_dot = name[i - 1] == '.' || name[i + 1] == '.';
        if (name[i] == '.' ? !(plain(name[i - 1]) && plain(name[i + 1])) : name[i] != '-' || beside_dot) return false;
    }
    return true;
}

std::string namespace_of(const EventObject& regarding) {
    return regarding.namespace_.empty() ? "default" : regarding.namespace_;
}

std::string series_json(const EventRecord& record) {
    return fmt::format(R"({{"count":{},"lastObservedTime":"{}"}})", record.count, micro_time(record.last_observed));
}

std::string reference(const EventObject& object) {
    std::string out = fmt::format(R"({{"apiVersion":{},"kind":{},"name":{})", quoted(object.api_version),
                                  quoted(object.kind), quoted(object.name));
    if (!object.namespace_.empty()) out += fmt::format(R"(,"namespace":{})", quoted(object.namespace_));
    if (!object.uid.empty()) out += fmt::format(R"(,"uid":{})", quoted(object.uid));
    return out += '}';
}

}  // namespace

std::string event_name(const EventObject& regarding, WallTime time, std::uint64_t random_high,
                       std::uint64_t random_low) {
    const auto nanos = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
    auto name = fmt::format("{}.{:x}", regarding.name, nanos);
    if (is_dns_subdomain(name)) return name;
    // Version 4, RFC 9562.
    return fmt::format("{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}", random_high >> 32, (random_high >> 16) & 0xffff,
                       random_high & 0xfff, 0x8000 | ((random_low >> 48) & 0x3fff), random_low & 0xffffffffffff);
}

std::string events_path(const EventObject& regarding) {
    return fmt::format("/apis/events.k8s.io/v1/namespaces/{}/events", namespace_of(regarding));
}

std::string create_body(const EventReporter& reporter, const EventRecord& record) {
    const Event& event = record.event;
    std::string out = fmt::format(
        R"({{"kind":"Event","apiVersion":"events.k8s.io/v1","metadata":{{"name":{},"namespace":{}}},"eventTime":"{}")",
        quoted(record.name), quoted(namespace_of(event.regarding)), micro_time(record.time));
    if (record.count > 1) out += fmt::format(R"(,"series":{})", series_json(record));
    out += fmt::format(R"(,"reportingController":{},"reportingInstance":{},"action":{},"reason":{},"regarding":{})",
                       quoted(reporter.controller), quoted(reporter.instance), quoted(event.action),
                       quoted(event.reason), reference(event.regarding));
    if (!event.note.empty()) out += fmt::format(R"(,"note":{})", quoted(cut(event.note, kNoteLimit)));
    return out += fmt::format(R"(,"type":"{}"}})", event.type == Event::Type::kNormal ? "Normal" : "Warning");
}

std::string series_patch(const EventRecord& record) { return fmt::format(R"({{"series":{}}})", series_json(record)); }

}  // namespace ghostip::source::kubernetes

// Logging for programs. Libraries return errors; what runs the process (agent, cli) logs them.
//
// Three formats: ghostip's own `2026-01-02T03:04:05.678Z INFO    text`; klog's text and JSON, which is what collectors
// on Kubernetes nodes know. One line a message whatever it holds, so that nobody can forge another. Any thread.
//
// A message never holds a token, a key or a request's headers: who calls sees to it, nothing in here can tell.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "base/result.h"

namespace ghostip::log {

enum class Format : std::uint8_t {
    kPlain,
    kKlogText,  // `I0102 15:04:05.678901    4711 agent.cpp:42] "text" key="value"`
    kKlogJson,  // `{"ts":1767366245678.901,"caller":"agent/agent.cpp:42","msg":"text","v":0,"key":"value"}`
};
enum class Level : std::uint8_t { kDebug, kInfo, kWarning, kError };

// klog's verbosity at which debug() is written; it counts from 0.
constexpr int kDebugVerbosity = 4;

// All of these may be called at any time. At first: kPlain, verbosity 0.
void configure(Format format, int verbosity);
void set_verbosity(int verbosity);
[[nodiscard]] int verbosity();
// Lines below this level are not written; kDebug and kInfo are the verbosities 4 and 0.
void set_level(Level level);
// `agent=4,kernel/*=2`: for files whose name without suffix matches, or whose path below src/ if the pattern has a
// slash, the first pattern that matches says the verbosity. Empty: none. The error says which part is wrong.
[[nodiscard]] Result<void> set_vmodule(std::string_view patterns);
// klog's formats only: what is not an error goes to standard output.
void set_split_stream(bool split);

// Where in the source a line was logged.
struct Location {
    std::string_view file;
    int line = 0;
};

// `key="value"` behind the message. Numbers and truth values stand bare.
struct Field {
    Field(std::string_view name, std::string_view text) : key(name), value(text) {}
    Field(std::string_view name, const char* text) : key(name), value(text) {}
    Field(std::string_view name, const std::string& text) : key(name), value(text) {}
    template <typename T>
    requires std::integral<T> || std::floating_point<T> Field(std::string_view name, T number)
        : key(name), value(fmt::format("{}", number)), bare(true) {}

    std::string_view key;
    std::string value;
    bool bare = false;
};
using Fields = std::initializer_list<Field>;

// Whether a message would be written: for those that cost something to make.
[[nodiscard]] bool enabled(Level level, const Location& location);
[[nodiscard]] bool enabled(int verbosity, const Location& location);
// Writes it without asking whether it is enabled.
void put(Level level, int verbosity, const Location& location, std::string_view message, Fields fields = {});

// A format string that knows where it stands. std::source_location is missing in one of the two compilers.
template <typename... Args>
struct FormatAt {
    template <typename Text>
    requires std::convertible_to<const Text&, std::string_view>
    // NOLINTNEXTLINE(google-explicit-constructor): as fmt::format_string
    consteval FormatAt(const Text& text, const char* file = __builtin_FILE(), int line = __builtin_LINE())
        : format(text), location{file, line} {}
    fmt::format_string<Args...> format;
    Location location;
};
template <typename... Args>
using FormatString = std::type_identity_t<FormatAt<std::type_identity_t<Args>...>>;

template <typename... Args>
void at_level(Level level, FormatString<Args...> format, Args&&... args) {
    const int wants = level == Level::kDebug ? kDebugVerbosity : 0;
    if (!enabled(level, format.location)) return;
    put(level, wants, format.location, fmt::format(format.format, std::forward<Args>(args)...));
}
template <typename... Args>
void debug(FormatString<Args...> format, Args&&... args) {
    at_level<Args...>(Level::kDebug, format, std::forward<Args>(args)...);
}
template <typename... Args>
void info(FormatString<Args...> format, Args&&... args) {
    at_level<Args...>(Level::kInfo, format, std::forward<Args>(args)...);
}
template <typename... Args>
void warning(FormatString<Args...> format, Args&&... args) {
    at_level<Args...>(Level::kWarning, format, std::forward<Args>(args)...);
}
template <typename... Args>
void error(FormatString<Args...> format, Args&&... args) {
    at_level<Args...>(Level::kError, format, std::forward<Args>(args)...);
}
// At this klog verbosity or above.
template <typename... Args>
void verbose(int verbosity, FormatString<Args...> format, Args&&... args) {
    if (!enabled(verbosity, format.location)) return;
    put(Level::kInfo, verbosity, format.location, fmt::format(format.format, std::forward<Args>(args)...));
}

// A finished text, with fields: `write(Level::kError, "command failed", {{"err", error.message}})`.
inline void write(Level level, std::string_view message, Fields fields = {}, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
    const Location location{file, line};
    if (enabled(level, location)) put(level, level == Level::kDebug ? kDebugVerbosity : 0, location, message, fields);
}

}  // namespace ghostip::log

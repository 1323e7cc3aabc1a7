// Logging for programs. Libraries return errors; what runs the process (agent, cli) logs them.
//
// Lines go to standard error: `2026-01-02T03:04:05.678Z INFO  text`. Thread-safe.
#pragma once

#include <string_view>

#include <fmt/format.h>

namespace ghostip::log {

enum class Level { kDebug, kInfo, kWarning, kError };

// Lines below this level are not written. Default: kInfo.
void set_level(Level level);
void write(Level level, std::string_view line);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ghostip::log

// One log line in one of the formats, as a pure function of what it says.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <span>
#include <string>
#include <string_view>

#include "base/log.h"

namespace ghostip::log {

struct Line {
    Level level = Level::kInfo;
    int verbosity = 0;
    Location location;
    std::string_view message;
    std::span<const Field> fields;
    std::chrono::system_clock::time_point time;
    pid_t process = 0;
};

// With its newline, which is the only one in it.
[[nodiscard]] std::string format_line(Format format, const Line& line);

// `agent/agent.cpp` of any path that ends so.
[[nodiscard]] std::string_view last_two(std::string_view path);
[[nodiscard]] std::string_view last_one(std::string_view path);

}  // namespace ghostip::log

// Runs a program to its end and keeps what it prints. Blocks: for a thread of its own.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/result.h"

namespace ghostip::source::kubernetes {

enum class ChildInput : std::uint8_t { kNothing, kInherited };

struct ChildProgram {
    std::string command;  // without a slash it is looked up in PATH
    std::vector<std::string> arguments;
    std::vector<std::string> environment;  // all of it, `NAME=value`
    ChildInput input = ChildInput::kNothing;
};

struct ChildEnd {
    int exit_code = 0;  // 128 + the signal that ended it
    std::string output;
};

// Standard error is inherited. The program is killed when `stop_fd` becomes readable, when the limit is over, or when
// it prints more than 1 MiB. An error with code ENOENT: there is no such program.
[[nodiscard]] Result<ChildEnd> run_child(const ChildProgram& program, int stop_fd, std::chrono::milliseconds limit);

}  // namespace ghostip::source::kubernetes

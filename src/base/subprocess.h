// Other programs, run to their end: no shell, a limit of time and of output, nothing inherited but what is given.
// Blocks; any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ghostip {

struct Program {
    std::vector<std::string> argv;  // argv[0] is looked for in PATH
    std::string input = {};         // its standard input
    // `NAME=value`; absent: this process's own.
    std::optional<std::vector<std::string>> environment = std::nullopt;
    std::chrono::milliseconds time_limit = std::chrono::seconds(60);
    std::size_t most_output = std::size_t{256} << 20U;  // of both streams together
    // Instead of `input`, piece by piece while the program reads; an empty piece is the end. Not asked for more once
    // the program reads no more.
    std::function<std::string_view()> input_source = nullptr;
    // Gets its standard output piece by piece, as it comes; Finished::out stays empty then, and there is no limit to
    // it.
    std::function<void(std::string_view)> output_sink = nullptr;
};

struct Finished {
    int status = 0;  // exit code, or 128 + the signal that ended it
    std::string out;
    std::string err;
};

// An exit code other than 0 is not an error here. Errors: there is no such program (ENOENT), it did not end in time
// (ETIMEDOUT) or said too much (EFBIG); then it was killed, with all that it had started in its process group.
[[nodiscard]] Result<Finished> run(const Program& program);

// What a program said of a failure, for an error: the last line of its standard error.
[[nodiscard]] std::string last_words(const Finished& finished);

}  // namespace ghostip

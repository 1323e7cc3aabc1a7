// Other programs, run to their end: no shell, a limit of time and of output, nothing inherited but what is given or
// asked for. Blocks; any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/running_programs.h"

namespace ghostip {

enum class Stream : std::uint8_t { kOurs, kInherited };

struct Program {
    std::vector<std::string> argv;  // argv[0] is looked for in PATH
    std::string input = {};         // its standard input
    // `NAME=value`; absent: this process's own.
    std::optional<std::vector<std::string>> environment = std::nullopt;
    std::chrono::milliseconds time_limit = std::chrono::seconds(60);
    std::size_t most_output = std::size_t{256} << 20U;  // of both streams together
    // kInherited: it reads what this process could read, perhaps from a terminal, and `input` is not used. It then
    // stays in this process group, since a terminal stops the others that read.
    Stream standard_input = Stream::kOurs;
    // kInherited: what it says there goes where this process's goes, and Finished::err stays empty.
    Stream standard_error = Stream::kOurs;
    int stop_fd = -1;  // it is killed when this becomes readable; -1: nobody stops it
    // Instead of `input`, piece by piece while the program reads; an empty piece is the end. Not asked for more once
    // the program reads no more.
    std::function<std::string_view()> input_source = nullptr;
    // Gets its standard output piece by piece, as it comes; Finished::out stays empty then, and there is no limit to
    // it.
    std::function<void(std::string_view)> output_sink = nullptr;
    // Has its process from its first instruction on until it has ended; null: nobody asks for that.
    RunningPrograms* listed = nullptr;
};

struct Finished {
    int status = 0;  // exit code, or 128 + the signal that ended it
    std::string out;
    std::string err;
};

// An exit code other than 0 is not an error here. Errors: there is no such program (ENOENT), it did not end in time
// (ETIMEDOUT), said too much (EFBIG) or was stopped (ECANCELED); then it was killed, with all that it had started in
// its process group.
[[nodiscard]] Result<Finished> run(const Program& program);

// What a program said of a failure, for an error: the last line of its standard error.
[[nodiscard]] std::string last_words(const Finished& finished);

}  // namespace ghostip

// What the process tells its caller. Documented in docs/commands.md.
#pragma once

namespace ghostip::cli {

enum ExitCode : int {
    kOk = 0,
    kFailed = 1,  // the work could not be done, or not all of it
    kUsage = 2,   // unknown flag, missing argument, bad value
};

}  // namespace ghostip::cli

// The commands of `ghostip`, one function each: adds itself to the application, and what it parsed to the table of
// things to run.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/proxy_settings.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the library's name
class App;
}

namespace ghostip::cli {

// Runs the command that was parsed and gives the process's exit code.
using Run = std::function<int()>;

void add_proxy_command(CLI::App& app, Run& run);
void add_render_command(CLI::App& app, Run& run);
void add_explain_command(CLI::App& app, Run& run);
void add_cleanup_command(CLI::App& app, Run& run);
void add_version_command(CLI::App& app, Run& run);

// `ghostip proxy` with the words behind it, or `kube-proxy` with all of its words. The exit code.
[[nodiscard]] int proxy(Invocation invocation, const std::vector<std::string>& words);

}  // namespace ghostip::cli

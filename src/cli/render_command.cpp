// `ghostip render`: what would be programmed. And the small commands: cleanup, version.
#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "agent/modes.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/offline.h"

namespace ghostip::cli {
namespace {

int render(const NodeFlags& flags) {
    const auto offline = plan_offline(flags);
    if (!offline) {
        fmt::print(stderr, "ghostip: {}\n", offline.error().message);
        return kFailed;
    }
    for (const auto& plan : offline->plans) fmt::print("{}\n", offline->options.mode->render(plan));
    return offline->had_errors ? kFailed : kOk;
}

}  // namespace

int run_cleanup() {
    int code = kOk;
    for (const auto& mode : agent::modes()) {
        const auto result = mode.cleanup();
        if (result) continue;
        fmt::print(stderr, "ghostip: clean up {} mode: {}\n", mode.name, result.error().message);
        code = kFailed;
    }
    return code;
}

void add_render_command(CLI::App& app, Run& run) {
    auto* command = app.add_subcommand("render", "Print what would be programmed; needs no root and no kernel");
    auto flags = std::make_shared<NodeFlags>();
    add_node_flags(*command, *flags);
    command->footer("Example:\n  ghostip render --manifests web.yaml --cluster-cidr 10.244.0.0/16");
    command->callback([flags, &run] { run = [flags] { return render(*flags); }; });
}

void add_cleanup_command(CLI::App& app, Run& run) {
    auto* command =
        app.add_subcommand("cleanup", "Remove every trace of ghostip from this host's kernel; twice is fine");
    command->footer("Example:\n  ghostip cleanup");
    command->callback([&run] { run = run_cleanup; });
}

void add_version_command(CLI::App& app, Run& run) {
    auto* command = app.add_subcommand("version", "Print the version");
    command->callback([&run] {
        run = [] {
            fmt::print("ghostip {}\n", GHOSTIP_VERSION);
            return static_cast<int>(kOk);
        };
    });
}

}  // namespace ghostip::cli

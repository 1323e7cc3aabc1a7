// `ghostip render`: what would be programmed. And the small commands: cleanup, version.
#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "agent/clean_up.h"
#include "agent/modes.h"
#include "base/log.h"
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
    // A comment for nft and for iptables-restore, which takes one family a text.
    for (const auto& plan : offline->plans)
        fmt::print("# {}\n{}\n", net::family_name(plan.family), offline->options.mode->render(plan));
    return offline->had_errors ? kFailed : kOk;
}

int clean_up_own() {
    int code = kOk;
    for (const auto& mode : agent::modes()) {
        std::vector<std::string> kept;
        const auto result = mode.cleanup(kept);
        for (const auto& one : kept) fmt::print(stderr, "ghostip: clean up {} mode: {}\n", mode.name, one);
        if (result) continue;
        fmt::print(stderr, "ghostip: clean up {} mode: {}\n", mode.name, result.error().message);
        code = kFailed;
    }
    return code;
}

int clean_up_all() {
    const auto done = agent::clean_up_everything();
    if (done) return kOk;
    log::error("{}", done.error().message);
    return kFailed;
}

}  // namespace

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
    auto all = std::make_shared<bool>(false);
    command->add_flag("--all", *all, "Also what kube-proxy's own modes left, by the list in docs/cleanup.md");
    command->footer("Examples:\n  ghostip cleanup\n  ghostip cleanup --all");
    command->callback([all, &run] { run = [all] { return *all ? clean_up_all() : clean_up_own(); }; });
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

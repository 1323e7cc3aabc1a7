// ghostip: how a Kubernetes Service address reaches a pod.
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/suggest.h"

namespace ghostip::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  ghostip proxy --manifests /etc/ghostip --cluster-cidr 10.244.0.0/16     keep this node's rules up to date
  ghostip proxy --manifests web.yaml --once                               one sync, rules stay
  ghostip render --manifests web.yaml                                     what would be programmed
  ghostip explain --manifests web.yaml 10.244.1.7 10.96.0.10:80           the way of one connection
  ghostip cleanup                                                         remove every trace

Exit codes: 0 done, 1 failed or not all could be done, 2 wrong usage.)";

// The command whose flags were meant, for suggestions.
const CLI::App* chosen(const CLI::App& app) {
    const auto commands = app.get_subcommands();
    return commands.empty() ? nullptr : commands.front();
}

int usage_error(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error) == 0 ? kOk : kUsage;
    // An unknown flag is the reason more often than what CLI11 complains of first.
    const std::string unknown = unknown_word(app, chosen(app), std::vector<std::string>(argv + 1, argv + argc));
    fmt::print(stderr, "ghostip: {}\n", unknown.empty() ? error.what() : unknown);
    fmt::print(stderr, "See: ghostip {}--help\n", chosen(app) != nullptr ? chosen(app)->get_name() + " " : "");
    return kUsage;
}

// A link to the binary, or a container's command, may call it kube-proxy.
bool called_kube_proxy(std::string_view path) { return path.substr(path.rfind('/') + 1) == "kube-proxy"; }

int run(int argc, char** argv) {
    const std::vector<std::string> words(argv, argv + argc);
    if (!words.empty() && called_kube_proxy(words[0]))
        return proxy(Invocation::kKubeProxy, {words.begin() + 1, words.end()});
    if (words.size() > 1 && words[1] == "proxy") return proxy(Invocation::kGhostip, {words.begin() + 2, words.end()});
    CLI::App app{"How a Kubernetes Service address, carried by no interface, reaches a pod", "ghostip"};
    app.require_subcommand(1);
    app.footer(kExamples);
    Run command;
    add_proxy_command(app, command);
    add_render_command(app, command);
    add_explain_command(app, command);
    add_cleanup_command(app, command);
    add_version_command(app, command);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return usage_error(app, error, argc, argv);
    }
    return command();
}

}  // namespace
}  // namespace ghostip::cli

int main(int argc, char** argv) {
    try {
        return ghostip::cli::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "ghostip: %s\n", error.what());
        return ghostip::cli::kFailed;
    }
}

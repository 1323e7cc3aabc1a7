#include "source/kubernetes/exec_plugin.h"

#include <sys/eventfd.h>

#include <map>
#include <utility>

#include "base/subprocess.h"
#include "source/kubernetes/proxy.h"
#include "source/kubernetes/refreshed_file.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): POSIX leaves it to programs

namespace ghostip::source::kubernetes {
namespace {

constexpr std::size_t kLargestCredential = std::size_t{1} << 20U;

std::vector<std::string> child_environment(const ExecPlugin& plugin, const std::string& info) {
    std::map<std::string, std::string> variables;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const std::size_t equals = text.find('=');
        if (equals != std::string_view::npos) variables[std::string(text.substr(0, equals))] = text.substr(equals + 1);
    }
    for (const auto& [name, value] : plugin.environment) variables[name] = value;
    variables["KUBERNETES_EXEC_INFO"] = info;
    std::vector<std::string> entries;
    entries.reserve(variables.size());
    for (const auto& [name, value] : variables) entries.push_back(fmt::format("{}={}", name, value));
    return entries;
}

}  // namespace

ExecPluginRunner::ExecPluginRunner(const ClientConfig& config, Environment environment, std::function<void()> done)
    : config_(config),
      environment_(std::move(environment)),
      done_(std::move(done)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ExecPluginRunner::~ExecPluginRunner() {
    if (!thread_.joinable()) return;
    // Cannot fail: the counter is far from its limit.
    static_cast<void>(::eventfd_write(stop_.get(), 1));
    thread_.join();
}

void ExecPluginRunner::start() {
    if (running()) return;
    thread_ = std::thread([this] {
        Outcome outcome = run();
        {
            const std::lock_guard lock(mutex_);
            outcome_ = std::move(outcome);
        }
        done_();
    });
}

std::optional<ExecPluginRunner::Outcome> ExecPluginRunner::take() {
    std::optional<Outcome> outcome;
    {
        const std::lock_guard lock(mutex_);
        std::swap(outcome, outcome_);
    }
    if (outcome) thread_.join();
    return outcome;
}

ExecPluginRunner::Outcome ExecPluginRunner::run() const {
    const ExecPlugin& plugin = *config_.exec;
    const bool terminal = ::isatty(STDIN_FILENO) == 1;
    const bool interactive = plugin.interactive != InteractiveMode::kNever && terminal;
    if (plugin.interactive == InteractiveMode::kAlways && !terminal)
        return {fail("exec: {} wants a terminal (interactiveMode Always), and standard input is none", plugin.command),
                {1, "client_internal_error", {}}};
    std::string authority = config_.authority.data;
    if (authority.empty() && !config_.authority.file.empty())
        authority = read_file(config_.authority.file).value_or("");
    const std::string info = exec_info(plugin, config_, authority, proxy_for(config_, environment_), interactive);

    Program program;
    program.argv = {plugin.command};
    program.argv.insert(program.argv.end(), plugin.arguments.begin(), plugin.arguments.end());
    program.environment = child_environment(plugin, info);
    program.time_limit = kPluginLimit;
    program.most_output = kLargestCredential;
    program.standard_input = interactive ? Stream::kInherited : Stream::kOurs;
    program.standard_error = Stream::kInherited;  // it may talk to whoever watches, as under client-go
    program.stop_fd = stop_.get();
    const auto end = ghostip::run(program);
    if (!end && end.error().code == ENOENT) {
        const std::string hint = plugin.install_hint.empty() ? "" : "; " + plugin.install_hint;
        return {fail("exec: executable {} not found{}", plugin.command, hint), {1, "plugin_not_found_error", {}}};
    }
    if (!end) return {end.error().within("exec"), {1, "plugin_execution_error", {}}};
    if (end->status != 0)
        return {fail("exec: executable {} failed with exit code {}", plugin.command, end->status),
                {end->status, "plugin_execution_error", {}}};
    auto credential = parse_exec_credential(end->out, plugin);
    PluginCalled called{0, credential ? "no_error" : "client_internal_error", {}};
    if (credential) called.expires = credential->expires;
    return {std::move(credential), std::move(called)};
}

}  // namespace ghostip::source::kubernetes

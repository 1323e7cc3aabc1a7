// Runs the case files with the real program and real packets.
//
//     packet_cases --binary build/dev/bin/ghostip --mode nftables --cases test/packets/cases [--case NAME] [--live]
//     [--every N [--from K]] [--list]
//
// For each step of each case: the objects go into a folder, `ghostip proxy --once` programs them inside the namespace
// of the node, and the flows are tried. With --live one `ghostip proxy` runs through all steps of a case and follows
// the folder, as it would in earnest. After each case `ghostip cleanup` must leave no rule behind.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "packets/case_file.h"
#include "packets/left_rules.h"
#include "packets/mode_text.h"
#include "support/conntrack.h"
#include "support/machine.h"
#include "support/probe.h"
#include "support/twin.h"

namespace ghostip::packets {
namespace {

using testnet::Outcome;
using testnet::Probe;
using testnet::ProbeEngine;
using testnet::Seen;
using testnet::Topology;
using Clock = std::chrono::steady_clock;

// In a guest (test/vm, test/uml) on a busy machine each program that a mode tries out takes long.
constexpr std::chrono::seconds kStartPatience(60);

volatile std::sig_atomic_t stop_requested = 0;

struct Options {
    std::string binary;
    std::string mode = "nftables";
    std::string cases;
    std::string only;
    std::size_t every = 1;  // a share of the cases: those with a number that is `from` modulo `every`
    std::size_t from = 0;
    bool live = false;
    bool list = false;
    bool show = false;  // print what each flow met
};

// Gone when the run ends, also by a signal.
class Folder {
  public:
    Folder() {
        auto pattern = (std::filesystem::temp_directory_path() / "ghostip-cases-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) std::abort();
        path_ = pattern;
        std::filesystem::create_directory(path_ / "manifests");
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    [[nodiscard]] std::string manifests() const { return path_ / "manifests"; }
    [[nodiscard]] std::string log() const { return path_ / "log"; }
    // Whole or not at all, as editors and config managers write.
    void write(const std::string& text) const {
        std::ofstream(path_ / "next") << text;
        std::filesystem::rename(path_ / "next", path_ / "manifests" / "objects.yaml");
    }

  private:
    std::filesystem::path path_;
};

// A `ghostip proxy` that runs on; ended with the object.
class LiveProxy {
  public:
    [[nodiscard]] static Result<std::unique_ptr<LiveProxy>> start(const testnet::Namespace& node,
                                                                  const std::vector<std::string>& argv,
                                                                  const std::string& log) {
        const Fd file{::open(log.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600)};
        ASSIGN_OR_RETURN(const int pid, node.start(argv, file.get()));
        return std::unique_ptr<LiveProxy>(new LiveProxy(pid));
    }
    ~LiveProxy() { (void)end(); }
    LiveProxy(const LiveProxy&) = delete;
    LiveProxy& operator=(const LiveProxy&) = delete;

    [[nodiscard]] bool running() {
        if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
        return pid_ > 0;
    }
    // Asks it to end; its exit code, or 128 + signal. It has ten seconds.
    [[nodiscard]] int end() {
        if (!running()) return code();
        ::kill(pid_, SIGTERM);
        const auto deadline = Clock::now() + std::chrono::seconds(10);
        while (running() && Clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        if (running()) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, &status_, 0);
            pid_ = -1;
        }
        return code();
    }

  private:
    explicit LiveProxy(int pid) : pid_(pid) {}
    [[nodiscard]] int code() const { return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_); }
    int pid_;
    int status_ = 0;
};

std::string read_file(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class Runner {
  public:
    Runner(const Options& options, Topology& topology, ProbeEngine& engine)
        : options_(options), topology_(topology), engine_(engine) {}

    // What went wrong, one line each; empty if all held.
    std::vector<std::string> run(const Case& one) {
        problems_.clear();
        flows_ = 0;
        sticky_.clear();
        folder_.write("");
        std::unique_ptr<LiveProxy> proxy;
        for (const auto& step : one.steps) {
            if (stop_requested != 0) break;
            if (const auto ready = options_.live ? follow(one, step, proxy) : program(one, step); !ready) {
                problems_.push_back(ready.error().message);
                break;
            }
            check_all(step);
        }
        if (proxy && proxy->end() != 0)
            problems_.push_back(fmt::format("ghostip proxy did not end well: {}", read_file(folder_.log())));
        proxy.reset();
        clean_up();
        return problems_;
    }
    [[nodiscard]] std::size_t flows() const { return flows_; }

  private:
    using StickyKey = std::tuple<net::IpAddress, HostPort, net::Protocol>;

    [[nodiscard]] std::vector<std::string> command(const Case& one) const {
        const ModeText mode(options_.mode);
        std::vector<std::string> argv{options_.binary,       "proxy",        "--manifests",
                                      folder_.manifests(),   "--proxy-mode", mode.mode,
                                      "--hostname-override", "test-node",    "--healthz-bind-address",
                                      "127.0.0.1:10256"};
        if (!mode.variant.empty()) argv.insert(argv.end(), {"--iptables-variant", mode.variant});
        argv.insert(argv.end(), one.flags.begin(), one.flags.end());
        return argv;
    }

    [[nodiscard]] Result<void> prepare(const Step& step) {
        RETURN_IF_ERROR(topology_.move(step.endpoints));
        RETURN_IF_ERROR(engine_.listen(step.ports));
        return testnet::flush_conntrack(topology_.node());
    }

    [[nodiscard]] Result<void> program(const Case& one, const Step& step) {
        RETURN_IF_ERROR(prepare(step));
        folder_.write(step.objects);
        auto argv = command(one);
        argv.emplace_back("--once");
        ASSIGN_OR_RETURN(const auto output, topology_.node().run(argv));
        if (output.status != 0)
            return fail("ghostip proxy --once ended with {}:\n{}{}", output.status, output.out, output.err);
        return testnet::await_service_addresses(topology_.node());
    }

    [[nodiscard]] Result<void> follow(const Case& one, const Step& step, std::unique_ptr<LiveProxy>& proxy) {
        RETURN_IF_ERROR(prepare(step));
        folder_.write(step.objects);
        if (proxy) return {};
        ASSIGN_OR_RETURN(proxy, LiveProxy::start(topology_.node(), command(one), folder_.log()));
        const auto deadline = Clock::now() + kStartPatience;
        while (!healthy()) {
            if (!proxy->running())
                return fail("ghostip proxy ended with {}:\n{}", proxy->end(), read_file(folder_.log()));
            if (Clock::now() > deadline)
                return fail("ghostip proxy is not healthy after {} s:\n{}", kStartPatience.count(),
                            read_file(folder_.log()));
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return {};
    }

    [[nodiscard]] bool healthy() const {
        const auto inside = topology_.node().enter();
        const Fd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        const testnet::SocketAddress at(*net::IpAddress::parse("127.0.0.1"), 10256);
        if (::connect(fd.get(), at.raw(), at.length) != 0) return false;
        const std::string request = "GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
        (void)!::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
        std::array<char, 64> answer{};
        return ::recv(fd.get(), answer.data(), answer.size() - 1, 0) > 0 &&
               std::string_view(answer.data()).find(" 200 ") < 12;
    }

    // A proxy that follows needs a moment to see a change: until then a wrong answer is only an old one.
    void check_all(const Step& step) {
        const auto deadline = Clock::now() + std::chrono::seconds(options_.live ? 5 : 0);
        const auto before = sticky_;
        while (true) {
            std::vector<std::string> problems;
            const auto checked = check(step.flows);
            if (stop_requested != 0) return;
            for (std::size_t i = 0; i < checked.size(); ++i)
                if (const auto& flow = step.flows[i]; !checked[i].empty())
                    problems.push_back(fmt::format("line {}{}: {}: expected {}\n{}", flow.line,
                                                   step.about.empty() ? "" : ", " + step.about, flow.text(),
                                                   flow.expect.text(), checked[i]));
            if (problems.empty() || Clock::now() > deadline) {
                flows_ += step.flows.size();
                problems_.insert(problems_.end(), problems.begin(), problems.end());
                return;
            }
            sticky_ = before;
            // Connections that began under the old rules stay with them.
            if (!testnet::flush_conntrack(topology_.node())) return;
        }
    }

    [[nodiscard]] std::vector<Probe> probes_of(const FlowCase& flow) const {
        std::vector<Probe> probes;
        for (const auto& client : flow.from) {
            const auto place = client.place.value_or(topology_.place_of(client.address));
            probes.insert(probes.end(), connections(flow),
                          {place, client.address, flow.to.address, flow.protocol, flow.to.port});
        }
        return probes;
    }

    // What went wrong with each flow, or nothing. All run at once, but for connections that stick: there each must see
    // what the one before it has left behind.
    std::vector<std::string> check(const std::vector<FlowCase>& flows) {
        std::vector<std::string> problems(flows.size());
        std::vector<Probe> together;
        for (const auto& flow : flows) {
            const auto probes = probes_of(flow);
            if (!flow.expect.sticky) together.insert(together.end(), probes.begin(), probes.end());
        }
        const auto outcomes = engine_.run(together);
        if (!outcomes) return {outcomes.error().message};
        auto next = outcomes->begin();
        for (std::size_t i = 0; i < flows.size(); ++i) {
            const auto probes = probes_of(flows[i]);
            if (flows[i].expect.sticky) {
                const auto own = engine_.run_in_turn(probes);
                problems[i] = own ? compare(flows[i], probes, *own) : own.error().message;
            } else {
                const auto end = next + static_cast<std::ptrdiff_t>(probes.size());
                problems[i] = compare(flows[i], probes, {next, end});
                next = end;
            }
        }
        return problems;
    }

    // What the flow met instead, or nothing.
    std::string compare(const FlowCase& flow, const std::vector<Probe>& probes, const std::vector<Outcome>& outcomes) {
        std::map<std::string, std::size_t> wrong;
        std::set<HostPort> met;
        for (std::size_t i = 0; i < probes.size(); ++i) {
            if (auto reason = judge(flow, probes[i], outcomes[i]); !reason.empty())
                ++wrong[outcomes[i].text() + reason];
            if (outcomes[i].seen == Seen::kAnswered) met.insert({outcomes[i].endpoint, outcomes[i].endpoint_port});
        }
        std::string problem;
        for (const auto& [text, count] : wrong)
            problem += fmt::format("        {} of {} connections: {}\n", count, probes.size(), text);
        if (flow.expect.what == Expectation::What::kEndpoints && !flow.expect.sticky && wrong.empty())
            for (const auto& endpoint : flow.expect.endpoints)
                if (!met.contains(endpoint))
                    problem += fmt::format("        none of {} connections reached {}\n", probes.size(),
                                           net::host_port(endpoint.address, endpoint.port));
        if (options_.show)
            fmt::print("      {}: {} connections, {}\n", flow.text(), probes.size(),
                       problem.empty() ? flow.expect.text() : "\n" + problem);
        return problem;
    }

    [[nodiscard]] static std::size_t connections(const FlowCase& flow) {
        if (flow.connections != 0) return flow.connections;
        if (flow.expect.what != Expectation::What::kEndpoints) return 2;
        // The chance to miss one of n endpoints in 24 n tries is about n e^-24.
        return flow.expect.endpoints.size() == 1 ? 3 : 24 * flow.expect.endpoints.size();
    }

    // Empty if the outcome is as expected, else why not (may be just " ").
    std::string judge(const FlowCase& flow, const Probe& probe, const Outcome& outcome) {
        switch (flow.expect.what) {
            case Expectation::What::kReject: return outcome.seen == Seen::kRejected ? "" : " ";
            case Expectation::What::kDrop: return outcome.seen == Seen::kDropped && !outcome.arrived ? "" : " ";
            case Expectation::What::kNone:
                if (!outcome.untranslated(probe)) return " ";
                return outcome.source == probe.source ? "" : ": source rewritten";
            case Expectation::What::kEndpoints: break;
        }
        if (outcome.seen != Seen::kAnswered) return " ";
        const HostPort endpoint{outcome.endpoint, outcome.endpoint_port};
        if (!flow.expect.endpoints.contains(endpoint)) return ": not one of the endpoints";
        if (flow.expect.source == Expectation::Source::kRelayed) {
            // What goes to the node itself goes by an address of any of its interfaces.
            const auto link = topology_.link_address(outcome.place, probe.source.family());
            if (outcome.place != testnet::Place::kNode && outcome.source != link)
                return fmt::format(": not sent by the node, from {}", link.text());
        } else if (flow.expect.source != Expectation::Source::kAny) {
            const bool rewritten =
                flow.expect.source == Expectation::Source::kMasqueraded ||
                (flow.expect.source == Expectation::Source::kHairpin && outcome.endpoint == probe.source);
            const auto link = topology_.link_address(outcome.place, probe.source.family());
            if (rewritten && outcome.source != link) return fmt::format(": not masqueraded to {}", link.text());
            if (!rewritten && outcome.source != probe.source) return ": source not kept";
        }
        if (!flow.expect.sticky) return "";
        const auto [at, first] = sticky_.try_emplace({probe.source, flow.to, flow.protocol}, endpoint);
        if (!first && at->second != endpoint) {
            const auto before = at->second;
            at->second = endpoint;
            // It may only move when the endpoint that it stuck to is gone.
            if (flow.expect.endpoints.contains(before))
                return fmt::format(": moved from {}", net::host_port(before.address, before.port));
        }
        return "";
    }

    void clean_up() {
        const auto output = topology_.node().run({options_.binary, "cleanup"});
        if (!output || output->status != 0)
            problems_.push_back(
                fmt::format("ghostip cleanup: {}", output ? output->out + output->err : output.error().message));
        const auto rules = left_rules(topology_.node());
        if (!rules)
            problems_.push_back(rules.error().message);
        else if (!rules->empty())
            problems_.push_back("ghostip cleanup left rules behind: " + *rules);
        if (const auto removed = remove_all_rules(topology_.node()); !removed)
            problems_.push_back(removed.error().message);
    }

    const Options& options_;
    Topology& topology_;
    ProbeEngine& engine_;
    Folder folder_;
    std::vector<std::string> problems_;
    std::map<StickyKey, HostPort> sticky_;
    std::size_t flows_ = 0;
};

int usage() {
    fmt::print(
        stderr,
        "packet_cases --binary GHOSTIP --cases FOLDER [--mode nftables] [--case NAME] [--live] [--every N [--from K]] "
        "[--list] "
        "[--show]\n"
        "  --case   only cases whose name begins so\n"
        "  --every  only each Nth case, beginning with number K (default 0). Take an odd N: the families take turns\n"
        "  --live   one proxy follows the steps of a case that has several, instead of `--once` for each; in userspace "
        "mode, which needs it, all cases\n"
        "  --show   print each flow as it is checked\n");
    return 2;
}

bool read_number(const char* text, std::size_t& into) {
    const auto* end = text + std::strlen(text);
    const auto [rest, error] = std::from_chars(text, end, into);
    return error == std::errc{} && rest == end;
}

bool parse(int argc, char** argv, Options& options) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view flag = argv[i];
        const auto value = [&](std::string& into) {
            if (i + 1 >= argc) return false;
            into = argv[++i];
            return true;
        };
        const auto number = [&](std::size_t& into) { return i + 1 < argc && read_number(argv[++i], into); };
        bool ok = true;
        if (flag == "--binary")
            ok = value(options.binary);
        else if (flag == "--mode")
            ok = value(options.mode);
        else if (flag == "--cases")
            ok = value(options.cases);
        else if (flag == "--case")
            ok = value(options.only);
        else if (flag == "--every")
            ok = number(options.every) && options.every > 0;
        else if (flag == "--from")
            ok = number(options.from);
        else if (flag == "--live")
            options.live = true;
        else if (flag == "--list")
            options.list = true;
        else if (flag == "--show")
            options.show = true;
        else
            ok = false;
        if (!ok) return false;
    }
    return !options.cases.empty() && (options.list || !options.binary.empty());
}

Result<std::vector<Case>> load(const Options& options) {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(options.cases))
        if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    std::vector<Case> cases;
    std::size_t number = 0;
    for (const auto& path : paths) {
        ASSIGN_OR_RETURN(auto read, read_cases(path, ModeText(options.mode).mode));
        for (auto& one : read)
            if (one.name.starts_with(options.only) &&
                (!options.live || options.mode == "userspace" || one.steps.size() > 1) &&
                number++ % options.every == options.from % options.every)
                cases.push_back(std::move(one));
    }
    if (cases.empty())
        return fail("no case in {} for mode {}{}", options.cases, options.mode,
                    options.only.empty() ? "" : " named " + options.only);
    return cases;
}

Result<int> run(const Options& options) {
    ASSIGN_OR_RETURN(const auto cases, load(options));
    if (options.list) {
        for (const auto& one : cases) fmt::print("{} [{}]: {}\n", one.name, one.family, one.about);
        return 0;
    }
    ASSIGN_OR_RETURN(const auto topology, Topology::create());
    ASSIGN_OR_RETURN(const auto engine, ProbeEngine::create(*topology));
    Runner runner(options, *topology, *engine);
    std::size_t failed = 0;
    std::size_t flows = 0;
    for (const auto& one : cases) {
        const auto start = Clock::now();
        const auto problems = runner.run(one);
        if (stop_requested != 0) return fail("stopped by a signal");
        flows += runner.flows();
        const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
        fmt::print("{} {} [{}] {} flows, {} ms\n", problems.empty() ? "ok  " : "FAIL", one.name, one.family,
                   runner.flows(), took);
        for (const auto& problem : problems) fmt::print("    {}\n", problem);
        std::fflush(stdout);
        if (!problems.empty()) ++failed;
    }
    fmt::print("{} cases passed, {} failed; {} flows\n", cases.size() - failed, failed, flows);
    return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ghostip::packets

int main(int argc, char** argv) {
    ghostip::packets::Options options;
    if (!ghostip::packets::parse(argc, argv, options)) return ghostip::packets::usage();
    struct sigaction action {};
    action.sa_handler = [](int) { ghostip::packets::stop_requested = 1; };
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
    const auto result = ghostip::packets::run(options);
    if (!result) {
        fmt::print(stderr, "{}\n", result.error().message);
        return 2;
    }
    return *result;
}

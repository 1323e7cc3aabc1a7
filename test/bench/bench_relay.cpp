// The relay (src/relay/) beside HAProxy in TCP mode, with as many threads: bench_relay [--quick] [--threads N]
// [--rounds N]
//
//     clients (10.251.1.1) --- veth --- proxy --- veth --- servers (10.251.2.2)      a namespace each
//
// One proxy at a time is asked, in turns, so that what else this machine does meets all of them alike; figures are
// medians of the rounds. Clients and servers take processor time too, on the same cores: hence also what the proxy's
// own process took.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "bench/figures.h"
#include "bench/relay_load.h"
#include "relay/relay.h"
#include "support/namespace.h"

namespace ghostip::bench {
namespace {

using std::chrono::milliseconds;
using testnet::Namespace;

constexpr int kBulkConnections = 8;
constexpr int kKeptConnections = 64;
constexpr int kNewAtOnce = 32;

net::IpAddress ip(const char* text) { return *net::IpAddress::parse(text); }
const std::vector<Role> kRoles{Role::kSource, Role::kEcho, Role::kOneShot};
Target server_at(Role role) { return {ip("10.251.2.2"), static_cast<std::uint16_t>(7000 + static_cast<int>(role))}; }
Target proxy_at(Role role) { return {ip("10.251.1.2"), static_cast<std::uint16_t>(8000 + static_cast<int>(role))}; }

struct Settings {
    unsigned threads = 2;
    int rounds = 5;
    milliseconds duration{2000};
    int idle = 10'000;
};

// --- the proxies

[[noreturn]] void serve_relay(unsigned threads) {
    relay::Options options;
    options.threads = threads;
    const auto relay = must(relay::Relay::start(options));
    for (const auto role : kRoles) {
        relay::ListenerSpec spec;
        const auto server = server_at(role);
        spec.service = relay->add_service({.endpoints = {{server.address, server.port}}});
        spec.address = {proxy_at(role).address, proxy_at(role).port};
        must(relay->listen(spec));
    }
    for (;;) ::pause();
}

// It refuses to start where its limits and the process's descriptors do not agree.
std::string haproxy_configuration(unsigned threads, int most_connections, bool splice) {
    std::string text = fmt::format(
        "global\n nbthread {}\n maxconn {}\n maxpipes 64\ndefaults\n mode tcp\n timeout connect 5s\n timeout client "
        "1h\n"
        " timeout server 1h\n option clitcpka\n option srvtcpka\n{}",
        threads, most_connections, splice ? " option splice-auto\n" : "");
    for (const auto role : kRoles) {
        const auto at = proxy_at(role);
        const auto server = server_at(role);
        text += fmt::format("listen port{}\n bind {}:{} backlog 4096\n server s {}:{}\n", at.port, at.address.text(),
                            at.port, server.address.text(), server.port);
    }
    return text;
}

double cpu_seconds(int pid) {
    clockid_t clock{};
    timespec time{};
    if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double resident_kib(int pid) {
    std::ifstream file(fmt::format("/proc/{}/status", pid));
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("VmRSS:")) return std::stod(line.substr(6));
    return 0;
}

// A proxy's process while it is asked.
class Running {
  public:
    Running(const Namespace& host, const std::vector<std::string>& command)
        : pid_(must(host.start(command, STDERR_FILENO))) {}
    ~Running() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    [[nodiscard]] int pid() const { return pid_; }

  private:
    const int pid_;
};

// --- what is measured

enum class Better : std::uint8_t { kHigher, kLower };
struct Figure {
    const char* name;
    Better better;
};
constexpr std::array kFigures{
    Figure{"bulk, Gbit/s", Better::kHigher},
    Figure{"bulk, CPU seconds a GB", Better::kLower},
    Figure{"requests a second, kept connections", Better::kHigher},
    Figure{"  p50, us", Better::kLower},
    Figure{"  p99, us", Better::kLower},
    Figure{"  CPU us a request", Better::kLower},
    Figure{"new connections a second", Better::kHigher},
    Figure{"  p50, us", Better::kLower},
    Figure{"  p99, us", Better::kLower},
    Figure{"  CPU us a connection", Better::kLower},
    Figure{"idle connections, KiB each", Better::kLower},
};
using Figures = std::array<double, kFigures.size()>;

Figures measure(const Namespace& clients, const Namespace& host, const std::vector<std::string>& command,
                const Settings& settings, int idle) {
    const Running proxy(host, command);
    const auto inside = clients.enter();
    // Until it listens.
    for (int i = 0; i < 200; ++i) {
        if (host.run({"sh", "-c", "ss -Hltn | grep -q :8002"}).value_or({1, {}, {}}).status == 0) break;
        ::usleep(20'000);
    }
    (void)requests(proxy_at(Role::kEcho), 4, milliseconds(100));  // warm
    Figures figures{};
    double before = cpu_seconds(proxy.pid());
    const auto used = [&] { return cpu_seconds(proxy.pid()) - before; };

    const auto transfer = bulk(proxy_at(Role::kSource), kBulkConnections, settings.duration);
    figures[0] = transfer.per_second * 8 / 1e9;
    figures[1] = used() / (transfer.bytes / 1e9);

    before = cpu_seconds(proxy.pid());
    const auto kept = requests(proxy_at(Role::kEcho), kKeptConnections, settings.duration);
    figures[2] = kept.per_second;
    figures[3] = kept.p50_microseconds;
    figures[4] = kept.p99_microseconds;
    figures[5] = used() * 1e6 / kept.count;

    before = cpu_seconds(proxy.pid());
    const auto fresh = new_connections(proxy_at(Role::kOneShot), kNewAtOnce, settings.duration);
    figures[6] = fresh.per_second;
    figures[7] = fresh.p50_microseconds;
    figures[8] = fresh.p99_microseconds;
    figures[9] = used() * 1e6 / fresh.count;

    const double empty = resident_kib(proxy.pid());
    const auto held = idle_connections(proxy_at(Role::kEcho), idle);
    figures[10] = (resident_kib(proxy.pid()) - empty) / idle;
    return figures;
}

void link(const Namespace& host, const Namespace& other, const char* name, const char* ours, const char* theirs) {
    must(host.must_run({"ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", other.path()}));
    must(host.must_run({"ip", "address", "add", ours, "dev", name}));
    must(host.must_run({"ip", "link", "set", name, "up"}));
    must(other.must_run({"ip", "address", "add", theirs, "dev", "eth0"}));
    must(other.must_run({"ip", "link", "set", "eth0", "up"}));
}

int run(const Settings& settings, const std::string& self) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    // A proxy needs two descriptors for each, and so do client and server, who are one process.
    const int idle = std::min(settings.idle, static_cast<int>((limit.rlim_max - 800) / 2));

    const auto clients = must(Namespace::create());
    const auto host = must(Namespace::create());
    const auto servers = must(Namespace::create());
    link(host, clients, "clients", "10.251.1.2/24", "10.251.1.1/24");
    link(host, servers, "servers", "10.251.2.1/24", "10.251.2.2/24");
    for (const auto* each : {&clients, &host, &servers})
        must(each->sysctl("net/ipv4/ip_local_port_range", "9000 65000"));
    std::vector<std::unique_ptr<LoadServer>> serving;
    {
        const auto inside = servers.enter();
        for (const auto role : kRoles) serving.push_back(std::make_unique<LoadServer>(server_at(role), role));
    }

    const auto folder = std::filesystem::temp_directory_path() / fmt::format("bench-relay-{}", ::getpid());
    std::filesystem::create_directories(folder);
    const auto haproxy = [&](const char* name, bool splice) {
        const auto file = folder / name;
        std::ofstream(file) << haproxy_configuration(settings.threads, idle + 50, splice);
        return std::vector<std::string>{"haproxy", "-db", "-q", "-f", file.string()};
    };
    struct Subject {
        const char* name;
        std::vector<std::string> command;
        std::vector<Figures> rounds = {};
    };
    std::vector<Subject> subjects{{"relay", {self, "--serve", std::to_string(settings.threads)}},
                                  {"HAProxy, splicing", haproxy("splice.cfg", true)},
                                  {"HAProxy, copying", haproxy("copy.cfg", false)}};
    for (int round = 0; round < settings.rounds; ++round)
        for (auto& subject : subjects)
            subject.rounds.push_back(measure(clients, host, subject.command, settings, idle));
    std::filesystem::remove_all(folder);

    fmt::print("{} threads each, {} rounds of {} ms, {} idle connections\n", settings.threads, settings.rounds,
               settings.duration.count(), idle);
    fmt::print("{:38}{:>12}{:>20}{:>20}   relay to the better one\n", "", subjects[0].name, subjects[1].name,
               subjects[2].name);
    for (std::size_t i = 0; i < kFigures.size(); ++i) {
        std::array<double, 3> middle{};
        for (std::size_t s = 0; s < subjects.size(); ++s) {
            std::vector<double> values;
            for (const auto& round : subjects[s].rounds) values.push_back(round[i]);
            middle[s] = median(values);
        }
        const bool higher = kFigures[i].better == Better::kHigher;
        const double rival = higher ? std::max(middle[1], middle[2]) : std::min(middle[1], middle[2]);
        const double ratio = higher ? middle[0] / rival : rival / middle[0];
        fmt::print("{:38}{:>12.3f}{:>20.3f}{:>20.3f}   {:.2f} times {}\n", kFigures[i].name, middle[0], middle[1],
                   middle[2], ratio >= 1 ? ratio : 1 / ratio, ratio >= 1 ? "as good" : "worse");
    }
    return 0;
}

}  // namespace
}  // namespace ghostip::bench

int main(int argc, char** argv) {
    using namespace ghostip::bench;  // NOLINT(google-build-using-namespace)
    Settings settings;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        const auto number = [&] { return i + 1 < argc ? std::stoi(argv[++i]) : 1; };
        if (word == "--serve") serve_relay(static_cast<unsigned>(number()));
        if (word == "--threads") settings.threads = static_cast<unsigned>(number());
        if (word == "--idle") settings.idle = number();
        if (word == "--rounds") settings.rounds = number();
        if (word == "--quick")
            settings.duration = std::chrono::milliseconds(300), settings.rounds = 2, settings.idle = 1000;
    }
    return run(settings, std::filesystem::read_symlink("/proc/self/exe").string());
}

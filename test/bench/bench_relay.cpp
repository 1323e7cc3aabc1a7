// The relay (src/relay/) beside HAProxy in TCP mode, with as many threads, and beside the kernel, where a Service's
// rules lead connections to the endpoint and no process carries them: bench_relay GHOSTIP [--quick] [--threads N]
// [--rounds N]
//
//     clients (10.251.1.1) --- veth --- node --- veth --- servers (10.251.2.2)      a namespace each
//
// The rules are those that GHOSTIP writes in mode nftables. One of them at a time is asked, in turns and in fresh
// namespaces, so that what else this machine does meets all alike and nobody sees connections of the one before;
// figures are medians of the rounds. Clients and servers take processor time too, on the same cores: hence what the
// proxy's own process took, and what all took together. The kernel forwards packets on whoever's time; so the latter is
// what compares.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <limits>
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
std::uint16_t front_port(Role role) { return static_cast<std::uint16_t>(8000 + static_cast<int>(role)); }
Target proxy_at(Role role) { return {ip("10.251.1.2"), front_port(role)}; }
Target service_at(Role role) { return {ip("10.96.0.10"), front_port(role)}; }

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

// The Service that the rules are for, and its endpoint.
std::string manifest() {
    std::string ports;
    std::string endpoints;
    for (const auto role : kRoles) {
        const auto name = static_cast<int>(role);
        ports += fmt::format("  - {{name: p{}, port: {}, protocol: TCP}}\n", name, service_at(role).port);
        endpoints += fmt::format("- {{name: p{}, port: {}, protocol: TCP}}\n", name, server_at(role).port);
    }
    return fmt::format(R"(apiVersion: v1
kind: Service
metadata: {{name: bench, namespace: default}}
spec:
  clusterIP: {0}
  clusterIPs: [{0}]
  ipFamilies: [IPv4]
  ports:
{1}---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: bench-1, namespace: default, labels: {{kubernetes.io/service-name: bench}}}}
addressType: IPv4
ports:
{2}endpoints:
- addresses: [{3}]
  conditions: {{ready: true}}
)",
                       service_at(Role::kEcho).address.text(), ports, endpoints, server_at(Role::kEcho).address.text());
}

double cpu_seconds(clockid_t clock) {
    timespec time{};
    if (::clock_gettime(clock, &time) != 0) return 0;
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double cpu_seconds_of(int pid) {
    clockid_t clock{};
    return pid > 0 && ::clock_getcpuclockid(pid, &clock) == 0 ? cpu_seconds(clock) : 0;
}

// The kernel's threads that take over where packets come faster than their senders' time allows to handle.
std::vector<int> packet_threads() {
    std::vector<int> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        std::string name;
        if (std::getline(std::ifstream(entry.path() / "comm"), name) && name.starts_with("ksoftirqd/"))
            found.push_back(std::stoi(entry.path().filename().string()));
    }
    return found;
}

double resident_kib(int pid) {
    std::ifstream file(fmt::format("/proc/{}/status", pid));
    for (std::string line; std::getline(file, line);)
        if (line.starts_with("VmRSS:")) return std::stod(line.substr(6));
    return 0;
}

void link(const Namespace& host, const Namespace& other, const char* name, const char* ours, const char* theirs) {
    must(host.must_run({"ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", other.path()}));
    must(host.must_run({"ip", "address", "add", ours, "dev", name}));
    must(host.must_run({"ip", "link", "set", name, "up"}));
    must(other.must_run({"ip", "address", "add", theirs, "dev", "eth0"}));
    must(other.must_run({"ip", "link", "set", "eth0", "up"}));
}

// The three namespaces and the servers.
class Net {
  public:
    Net() : clients_(must(Namespace::create())), node_(must(Namespace::create())), servers_(must(Namespace::create())) {
        link(node_, clients_, "clients", "10.251.1.2/24", "10.251.1.1/24");
        link(node_, servers_, "servers", "10.251.2.1/24", "10.251.2.2/24");
        for (const auto* each : {&clients_, &node_, &servers_})
            must(each->sysctl("net/ipv4/ip_local_port_range", "9000 65000"));
        // For the kernel's way only; a proxy answers at its own address.
        must(node_.sysctl("net/ipv4/ip_forward", "1"));
        must(clients_.must_run({"ip", "route", "add", "10.96.0.0/16", "via", "10.251.1.2"}));
        must(servers_.must_run({"ip", "route", "add", "10.251.1.0/24", "via", "10.251.2.1"}));
        const auto inside = servers_.enter();
        for (const auto role : kRoles) serving_.push_back(std::make_unique<LoadServer>(server_at(role), role));
    }
    [[nodiscard]] const Namespace& clients() const { return clients_; }
    [[nodiscard]] const Namespace& node() const { return node_; }

  private:
    const Namespace clients_;
    const Namespace node_;
    const Namespace servers_;
    std::vector<std::unique_ptr<LoadServer>> serving_;
};

struct Subject {
    const char* name;
    // A proxy, or a program that ends and leaves rules.
    enum class Kind : std::uint8_t { kProcess, kRules } kind;
    std::vector<std::string> command;

    [[nodiscard]] Target at(Role role) const { return kind == Kind::kProcess ? proxy_at(role) : service_at(role); }
};

// What serves while it is asked.
class Running {
  public:
    Running(const Namespace& node, const Subject& subject) {
        if (subject.kind == Subject::Kind::kRules) {
            must(node.must_run(subject.command));
            return;
        }
        pid_ = must(node.start(subject.command, STDERR_FILENO));
        // Until it listens.
        const auto last = fmt::format("ss -Hltn | grep -q :{}", front_port(kRoles.back()));
        for (int i = 0; i < 200; ++i) {
            if (node.run({"sh", "-c", last}).value_or({1, {}, {}}).status == 0) break;
            ::usleep(20'000);
        }
    }
    ~Running() {
        if (pid_ == 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    [[nodiscard]] int pid() const { return pid_; }  // 0: no process

  private:
    int pid_ = 0;
};

// What a measurement took, by its proxy and by all who had to do with it.
class Spent {
  public:
    explicit Spent(int pid) : pid_(pid) { begin(); }
    void begin() {
        own_ = cpu_seconds_of(pid_);
        all_ = now();
    }
    [[nodiscard]] double own() const { return pid_ == 0 ? kNone : cpu_seconds_of(pid_) - own_; }
    [[nodiscard]] double all() const { return now() - all_; }

    static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

  private:
    [[nodiscard]] double now() const {
        double sum = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) + cpu_seconds_of(pid_);
        for (const int thread : packet_threads_) sum += cpu_seconds_of(thread);
        return sum;
    }
    const int pid_;
    const std::vector<int> packet_threads_ = packet_threads();
    double own_ = 0;
    double all_ = 0;
};

// --- what is measured

enum class Better : std::uint8_t { kHigher, kLower };
struct Figure {
    const char* name;
    Better better;
};
constexpr std::array kFigures{
    Figure{"bulk, Gbit/s", Better::kHigher},
    Figure{"  CPU seconds a GB", Better::kLower},
    Figure{"  with clients and servers", Better::kLower},
    Figure{"requests a second, kept connections", Better::kHigher},
    Figure{"  p50, us", Better::kLower},
    Figure{"  p99, us", Better::kLower},
    Figure{"  CPU us a request", Better::kLower},
    Figure{"  with clients and servers", Better::kLower},
    Figure{"new connections a second", Better::kHigher},
    Figure{"  p50, us", Better::kLower},
    Figure{"  p99, us", Better::kLower},
    Figure{"  CPU us a connection", Better::kLower},
    Figure{"  with clients and servers", Better::kLower},
    Figure{"idle connections, KiB each", Better::kLower},
};
using Figures = std::array<double, kFigures.size()>;

Figures measure(const Subject& subject, const Settings& settings, int idle) {
    const Net net;
    const Running proxy(net.node(), subject);
    const auto inside = net.clients().enter();
    (void)requests(subject.at(Role::kEcho), 4, milliseconds(100));  // warm
    Figures figures{};
    auto* next = figures.data();
    Spent spent(proxy.pid());

    const auto transfer = bulk(subject.at(Role::kSource), kBulkConnections, settings.duration);
    *next++ = transfer.per_second * 8 / 1e9;
    *next++ = spent.own() / (transfer.bytes / 1e9);
    *next++ = spent.all() / (transfer.bytes / 1e9);

    const auto put = [&](const Exchange& exchange) {
        *next++ = exchange.per_second;
        *next++ = exchange.p50_microseconds;
        *next++ = exchange.p99_microseconds;
        *next++ = spent.own() * 1e6 / exchange.count;
        *next++ = spent.all() * 1e6 / exchange.count;
    };
    spent.begin();
    put(requests(subject.at(Role::kEcho), kKeptConnections, settings.duration));
    spent.begin();
    put(new_connections(subject.at(Role::kOneShot), kNewAtOnce, settings.duration));

    const double empty = resident_kib(proxy.pid());
    const auto held = idle_connections(subject.at(Role::kEcho), idle);
    *next++ = proxy.pid() == 0 ? Spent::kNone : (resident_kib(proxy.pid()) - empty) / idle;
    return figures;
}

// --- the table

constexpr std::size_t kSubjects = 4;  // relay, twice HAProxy, kernel

std::string cell(double value) { return std::isnan(value) ? "-" : fmt::format("{:.3f}", value); }

void print_row(const Figure& figure, const std::array<double, kSubjects>& middle) {
    const bool higher = figure.better == Better::kHigher;
    const double rival = higher ? std::max(middle[1], middle[2]) : std::min(middle[1], middle[2]);
    const double ratio = higher ? middle[0] / rival : rival / middle[0];
    fmt::print("{:38}{:>12}{:>20}{:>20}{:>14}   {:.2f} times {}\n", figure.name, cell(middle[0]), cell(middle[1]),
               cell(middle[2]), cell(middle[3]), ratio >= 1 ? ratio : 1 / ratio, ratio >= 1 ? "as good" : "worse");
}

int run(const std::string& ghostip, const Settings& settings, const std::string& self) {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    // A proxy needs two descriptors for each, and so do client and server, who are one process.
    const int idle = std::min(settings.idle, static_cast<int>((limit.rlim_max - 800) / 2));

    const auto folder = std::filesystem::temp_directory_path() / fmt::format("bench-relay-{}", ::getpid());
    std::filesystem::create_directories(folder);
    const auto write = [&](const char* name, const std::string& text) {
        const auto file = folder / name;
        std::ofstream(file) << text;
        return file.string();
    };
    const auto haproxy = [&](const char* name, bool splice) {
        return std::vector<std::string>{"haproxy", "-db", "-q", "-f",
                                        write(name, haproxy_configuration(settings.threads, idle + 50, splice))};
    };
    using Kind = Subject::Kind;
    const std::array<Subject, kSubjects> subjects{
        Subject{"relay", Kind::kProcess, {self, "--serve", std::to_string(settings.threads)}},
        Subject{"HAProxy, splicing", Kind::kProcess, haproxy("splice.cfg", true)},
        Subject{"HAProxy, copying", Kind::kProcess, haproxy("copy.cfg", false)},
        Subject{"kernel",
                Kind::kRules,
                {ghostip, "proxy", "--once", "--proxy-mode", "nftables", "--hostname-override", "node",
                 "--cluster-cidr", "10.251.0.0/16", "--manifests", write("service.yaml", manifest())}}};
    std::array<std::vector<Figures>, kSubjects> rounds;
    for (int round = 0; round < settings.rounds; ++round)
        for (std::size_t s = 0; s < kSubjects; ++s) rounds[s].push_back(measure(subjects[s], settings, idle));
    std::filesystem::remove_all(folder);

    fmt::print("{} threads each, {} rounds of {} ms, {} idle connections\n", settings.threads, settings.rounds,
               settings.duration.count(), idle);
    fmt::print("{:38}{:>12}{:>20}{:>20}{:>14}   relay to the better HAProxy\n", "", subjects[0].name, subjects[1].name,
               subjects[2].name, subjects[3].name);
    for (std::size_t i = 0; i < kFigures.size(); ++i) {
        std::array<double, kSubjects> middle{};
        for (std::size_t s = 0; s < kSubjects; ++s) {
            std::vector<double> values;
            for (const auto& round : rounds[s]) values.push_back(round[i]);
            middle[s] = median(values);
        }
        print_row(kFigures[i], middle);
    }
    return 0;
}

}  // namespace
}  // namespace ghostip::bench

int main(int argc, char** argv) {
    using namespace ghostip::bench;  // NOLINT(google-build-using-namespace)
    Settings settings;
    std::string ghostip;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        const auto number = [&] { return i + 1 < argc ? std::stoi(argv[++i]) : 1; };
        if (!word.starts_with("--")) ghostip = word;
        if (word == "--serve") serve_relay(static_cast<unsigned>(number()));
        if (word == "--threads") settings.threads = static_cast<unsigned>(number());
        if (word == "--idle") settings.idle = number();
        if (word == "--rounds") settings.rounds = number();
        if (word == "--quick")
            settings.duration = std::chrono::milliseconds(300), settings.rounds = 2, settings.idle = 1000;
    }
    if (ghostip.empty()) {
        fmt::print(stderr, "usage: bench_relay GHOSTIP [--quick] [--threads N] [--rounds N] [--idle N]\n");
        return 2;
    }
    return run(ghostip, settings, std::filesystem::read_symlink("/proc/self/exe").string());
}

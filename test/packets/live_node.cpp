#include "packets/live_node.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <span>
#include <sstream>
#include <thread>

#include <fmt/format.h>

#include "packets/mode_text.h"
#include "packets/ruleset_text.h"
#include "support/machine.h"
#include "support/twin.h"
#include "support/wire.h"

namespace ghostip::packets {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::chrono::seconds kPatience(20);
// Of starts. In a guest (test/vm, test/uml) on a busy machine each program that a mode tries out takes long.
constexpr std::chrono::seconds kStartPatience(120);
constexpr std::uint16_t kHealthPort = 10256;
constexpr std::uint16_t kMetricsPort = 10249;

std::string binary() {
    const char* other = std::getenv("GHOSTIP_BINARY");
    return other == nullptr ? GHOSTIP_BINARY : other;
}

struct PortSpec {
    std::string_view name;
    std::string_view protocol;
    int port;
    int target;
    int node_port;  // more than that of the Service
};
constexpr std::array<PortSpec, 4> kPorts{PortSpec{"probe-tcp", "TCP", kProbePort, kProbeTarget, 0},
                                         PortSpec{"probe-udp", "UDP", kProbePort, kProbeTarget, 0},
                                         PortSpec{"echo-tcp", "TCP", kEchoPort, kEchoTarget, kEchoNodePort},
                                         PortSpec{"echo-udp", "UDP", kEchoPort, kEchoTarget, kEchoNodePort}};

// Virtual servers with their destinations, without destinations that only wait for their last connections. Not from
// /proc/net/ip_vs: where several namespaces have some, the kernel counts those of all when it goes on after a page and
// those of this one when it looks for the place again, and leaves some out.
Result<std::string> servers_of(const testnet::Namespace& node) {
    ASSIGN_OR_RETURN(const auto saved, node.must_run({"ipvsadm", "-Sn"}));
    std::istringstream lines(saved);
    std::string text;
    for (std::string line; std::getline(lines, line);)
        if (!line.starts_with("-a ") || line.find(" -w 0") == std::string::npos) text += line + "\n";
    return text;
}

constexpr std::size_t kProbePorts = 2;  // the first ones

void append_service(std::string& text, const ServiceSpec& one) {
    text += fmt::format(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {}, namespace: test}}\nspec:\n"
        "  type: {}\n  clusterIP: \"{}\"\n  ipFamilies: [IPv4]\n",
        one.name, one.node_port == 0 ? "ClusterIP" : "NodePort", one.cluster_ip);
    if (!one.external_ip.empty()) text += fmt::format("  externalIPs: [\"{}\"]\n", one.external_ip);
    if (one.sticky)
        text +=
            "  sessionAffinity: ClientIP\n"
            "  sessionAffinityConfig: {clientIP: {timeoutSeconds: 600}}\n";
    text += "  ports:\n";
    const auto ports = std::span(kPorts).first(one.echoes ? kPorts.size() : kProbePorts);
    for (const auto& port : ports)
        text += fmt::format("  - {{name: {}, protocol: {}, port: {}{}}}\n", port.name, port.protocol, port.port,
                            one.node_port == 0 ? "" : fmt::format(", nodePort: {}", one.node_port + port.node_port));
    text += fmt::format(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
        "metadata: {{name: {0}-1, namespace: test, labels: {{kubernetes.io/service-name: {0}}}}}\n"
        "addressType: IPv4\nports:\n",
        one.name);
    for (const auto& port : ports)
        text += fmt::format("- {{name: {}, protocol: {}, port: {}}}\n", port.name, port.protocol, port.target);
    text += one.endpoints.empty() ? "endpoints: []\n" : "endpoints:\n";
    for (const auto& endpoint : one.endpoints)
        text += fmt::format("- {{addresses: [\"{}\"], nodeName: {}, conditions: {{ready: true}}}}\n", endpoint,
                            endpoint.starts_with("10.181.") ? "other-node" : "test-node");
}

}  // namespace

std::string manifest(const std::vector<ServiceSpec>& services) {
    std::string text;
    for (const auto& one : services) append_service(text, one);
    return text;
}

std::string range_manifest() {
    return "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: kubernetes}\n"
           "spec: {cidrs: [\"172.30.0.0/16\"]}\n";
}

Result<std::unique_ptr<LiveNode>> LiveNode::create(net::Family family) {
    auto live = std::unique_ptr<LiveNode>(new LiveNode(family));
    if (const char* mode = std::getenv("GHOSTIP_TEST_MODE")) live->mode_ = mode;
    auto pattern = (std::filesystem::temp_directory_path() / "ghostip-live-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return fail_errno("make a folder");
    live->folder_ = pattern;
    live->program_ = {binary()};
    std::filesystem::create_directory(live->folder_ / "manifests");
    ASSIGN_OR_RETURN(live->topology_, testnet::Topology::create());
    live->write("range.yaml", range_manifest());
    return live;
}

LiveNode::~LiveNode() {
    stop(SIGKILL);
    std::swap(pid_, predecessor_);
    stop(SIGKILL);
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
}

void LiveNode::run_by(std::vector<std::string> starter) {
    program_ = std::move(starter);
    program_.push_back(binary());
}

// Where the program was built that user may not be able to read.
Result<void> LiveNode::run_as_ordinary_user() {
    const auto copy = folder_ / "ghostip";
    std::error_code error;
    std::filesystem::copy_file(binary(), copy, std::filesystem::copy_options::overwrite_existing, error);
    for (const auto& path : {folder_, folder_ / "manifests", copy})
        std::filesystem::permissions(path, std::filesystem::perms(0755), error);
    if (error) return fail("give the program to another user: {}", error.message());
    program_ = {"setpriv",         "--reuid=65534",       "--regid=65534", "--clear-groups",
                "--inh-caps=-all", "--bounding-set=-all", copy.string()};
    return {};
}

net::IpAddress LiveNode::address(std::string_view ipv4) const { return testnet::in_family(family_, ipv4); }

void LiveNode::write(const std::string& file, const std::string& text) const {
    std::ofstream(folder_ / "next") << (family_ == net::Family::kIpv4 ? text : testnet::twin_text(text));
    std::filesystem::rename(folder_ / "next", folder_ / "manifests" / file);
}

std::vector<std::string> LiveNode::node_flags() const {
    const bool ipv4 = family_ == net::Family::kIpv4;
    const bool cluster = !master_.empty();
    std::vector<std::string> flags{cluster ? "--master" : "--manifests",
                                   cluster ? master_ : (folder_ / "manifests").string(),
                                   "--cluster-cidr",
                                   ipv4 ? "10.0.0.0/8" : "fd00:10::/64",
                                   "--bind-address",
                                   address(kOwnAddress).text(),
                                   "--hostname-override",
                                   "test-node"};
    const ModeText mode(mode_);
    if (!mode.mode.empty()) flags.insert(flags.end(), {"--proxy-mode", mode.mode});
    if (!mode.variant.empty()) flags.insert(flags.end(), {"--iptables-variant", mode.variant});
    return flags;
}

std::vector<std::string> LiveNode::flags() const {
    auto flags = node_flags();
    flags.insert(flags.end(), more_flags_.begin(), more_flags_.end());
    return flags;
}

Result<void> LiveNode::start() {
    stop(SIGKILL);
    const std::string log = folder_ / "log";
    const Fd file{::open(log.c_str(), O_CREAT | O_TRUNC | O_APPEND | O_WRONLY | O_CLOEXEC, 0600)};
    auto argv = program_;
    argv.insert(argv.end(), {"proxy", "--verbose", "--healthz-bind-address", fmt::format("127.0.0.1:{}", kHealthPort)});
    const auto more = flags();
    argv.insert(argv.end(), more.begin(), more.end());
    ASSIGN_OR_RETURN(pid_, node().start(argv, file.get()));
    return {};
}

Result<milliseconds> LiveNode::start_and_wait() {
    const auto begin = Clock::now();
    RETURN_IF_ERROR(start());
    RETURN_IF_ERROR(wait_synced());
    return std::chrono::duration_cast<milliseconds>(Clock::now() - begin);
}

Result<void> LiveNode::start_beside() {
    if (!predecessor_ended()) return fail("there is a predecessor already");
    predecessor_ = std::exchange(pid_, -1);
    return start();
}

Result<void> LiveNode::start_successor() {
    RETURN_IF_ERROR(start_beside());
    RETURN_IF_ERROR(wait_synced());
    // Its page may have been the predecessor's, until that heard of it.
    const bool taken =
        wait_until(kStartPatience, [&] { return log().find("the other ghostip serves now") != std::string::npos; });
    if (!taken) return fail("ghostip proxy has not taken over after {} s:\n{}", kStartPatience.count(), log());
    return {};
}

Result<void> LiveNode::kill_a_successor(milliseconds after) {
    const int own = std::exchange(pid_, -1);
    const auto started = start();
    std::this_thread::sleep_for(after);
    stop(SIGKILL);
    pid_ = own;
    return started;
}

void LiveNode::end_predecessor(int signal) const {
    if (predecessor_ > 0) ::kill(predecessor_, signal);
}

bool LiveNode::predecessor_ended() {
    if (predecessor_ > 0 && ::waitpid(predecessor_, nullptr, WNOHANG) == predecessor_) predecessor_ = -1;
    return predecessor_ <= 0;
}

Result<void> LiveNode::wait_synced() {
    bool ended = false;
    const bool healthy = wait_until(kStartPatience, [&] {
        ended = !running();
        return ended || page(kHealthPort, "/readyz").find(" 200 ") < std::string_view("HTTP/1.1 200 ").size();
    });
    if (ended) return fail("ghostip proxy ended by itself:\n{}", log());
    if (!healthy) return fail("ghostip proxy is not healthy after {} s:\n{}", kStartPatience.count(), log());
    return testnet::await_service_addresses(node());
}

bool LiveNode::running() {
    int status = 0;
    if (pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_) pid_ = -1;
    return pid_ > 0;
}

void LiveNode::stop(int signal) {
    if (!running()) return;
    ::kill(pid_, signal);
    if (wait_until(kPatience, [this] { return !running(); })) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
}

std::string LiveNode::page(std::uint16_t port, std::string_view path) const {
    const auto inside = node().enter();
    const Fd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const timeval patience{kPatience.count(), 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const testnet::SocketAddress at(*net::IpAddress::parse("127.0.0.1"), port);
    if (::connect(fd.get(), at.raw(), at.length) != 0) return {};
    const auto request = fmt::format("GET {} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n", path);
    (void)!::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    std::string text;
    std::array<char, 4096> part{};
    for (ssize_t got = 0; (got = ::recv(fd.get(), part.data(), part.size(), 0)) > 0;)
        text.append(part.data(), static_cast<std::size_t>(got));
    return text;
}

std::optional<double> LiveNode::metric(std::string_view name) const {
    const auto text = page(kMetricsPort, "/metrics");
    const auto line = fmt::format("\n{}{{ip_family=\"{}\"}} ", name, net::family_name(family_));
    const auto found = text.find(line);
    if (found == std::string::npos) return std::nullopt;
    return std::strtod(text.c_str() + found + line.size(), nullptr);
}

std::string LiveNode::log() const {
    std::ifstream file(folder_ / "log");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Result<std::string> LiveNode::nft(const std::vector<std::string>& arguments, std::string_view input) const {
    std::vector<std::string> argv{"nft"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return node().must_run(argv, input);
}

Result<std::uint32_t> LiveNode::generation() const {
    if (mode_.starts_with("ipvs")) {
        ASSIGN_OR_RETURN(const auto servers, servers_of(node()));
        return static_cast<std::uint32_t>(std::hash<std::string>{}(servers));
    }
    if (mode_ == "iptables-legacy") {  // nobody counts there
        ASSIGN_OR_RETURN(const auto rules, listing());
        return static_cast<std::uint32_t>(std::hash<std::string>{}(rules));
    }
    const auto inside = node().enter();
    const Fd fd{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)};
    struct {
        nlmsghdr header;
        nfgenmsg message;
    } question{};
    question.header.nlmsg_len = sizeof question;
    question.header.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
    question.header.nlmsg_flags = NLM_F_REQUEST;
    if (::send(fd.get(), &question, sizeof question, 0) < 0) return fail_errno("ask nf_tables for its generation");
    // The number is the first attribute of the answer.
    constexpr std::size_t kNumber = sizeof question + sizeof(nlattr);
    std::array<std::uint8_t, 512> answer{};
    if (::recv(fd.get(), answer.data(), answer.size(), 0) < static_cast<ssize_t>(kNumber + sizeof(std::uint32_t)))
        return fail("nf_tables does not tell its generation");
    std::uint32_t number = 0;
    std::memcpy(&number, answer.data() + kNumber, sizeof number);
    return ntohl(number);
}

Result<void> LiveNode::track_connections() const {
    if (!testnet::has_nf_tables()) {
        const std::string program = family_ == net::Family::kIpv4 ? "iptables-legacy" : "ip6tables-legacy";
        RETURN_IF_ERROR(node().must_run(
            {program, "-w", "5", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT"}));
        return {};
    }
    constexpr std::string_view kTracking =
        "table inet tracking { chain arriving { type filter hook prerouting priority 0; ct state new accept; }; }\n";
    ASSIGN_OR_RETURN(const auto tracked, nft({"-f", "-"}, kTracking));
    static_cast<void>(tracked);
    return {};
}

Result<std::string> LiveNode::listing_of_ipvs() const {
    const bool ipv4 = family_ == net::Family::kIpv4;
    ASSIGN_OR_RETURN(const auto servers, servers_of(node()));
    ASSIGN_OR_RETURN(const auto sets, node().must_run({"ipset", "save"}));
    ASSIGN_OR_RETURN(const auto addresses,
                     node().must_run({"ip", ipv4 ? "-4" : "-6", "-o", "addr", "show", "dev", "kube-ipvs0"}));
    ASSIGN_OR_RETURN(const auto rules, node().must_run({ipv4 ? "iptables-legacy-save" : "ip6tables-legacy-save"}));
    std::vector<std::string> lines;
    const auto take = [&](std::string_view from, const std::function<bool(const std::string&)>& wanted) {
        std::istringstream in{std::string(from)};
        for (std::string line; std::getline(in, line);)
            if (wanted(line)) lines.push_back(line);
    };
    take(servers, [](const auto&) { return true; });
    take(sets, [](const auto& line) { return line.starts_with("add "); });
    // The index of the device is another one each time.
    take(addresses, [](auto& line) { return line.find("inet") != std::string::npos; });
    for (auto& line : lines)
        if (const auto at = line.find(": kube-ipvs0"); at != std::string::npos) line.erase(0, at);
    std::sort(lines.begin(), lines.end());
    std::string text;
    for (const auto& line : lines) text += line + "\n";
    return text + normal_save(rules);
}

Result<std::string> LiveNode::listing() const {
    if (mode_.starts_with("ipvs")) return listing_of_ipvs();
    if (const ModeText mode(mode_); mode.mode == "iptables") {
        const std::string program = family_ == net::Family::kIpv4 ? "iptables" : "ip6tables";
        ASSIGN_OR_RETURN(const auto saved, node().must_run({program + "-" + mode.variant + "-save"}));
        return normal_save(saved);
    }
    const std::string ip = family_ == net::Family::kIpv4 ? "ip" : "ip6";
    ASSIGN_OR_RETURN(const auto text, nft({"--stateless", "list", "table", ip, "ghostip"}));
    return normal_ruleset(text);
}

Result<std::string> LiveNode::run_ghostip(const std::string& subcommand, bool with_flags) const {
    std::vector<std::string> argv{binary(), subcommand};
    const auto more = with_flags ? flags() : std::vector<std::string>();
    argv.insert(argv.end(), more.begin(), more.end());
    return node().must_run(argv);
}

Result<testnet::Output> LiveNode::explain(const std::vector<std::string>& arguments) const {
    std::vector<std::string> argv{binary(), "explain"};
    const auto own = node_flags();
    argv.insert(argv.end(), own.begin(), own.end());
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return node().run(argv);
}

bool wait_until(milliseconds patience, const std::function<bool()>& done) {
    const auto deadline = Clock::now() + patience;
    while (!done()) {
        if (Clock::now() > deadline) return false;
        std::this_thread::sleep_for(milliseconds(2));
    }
    return true;
}

int long_scale() {
    int product = 1;
    for (const auto* name : {"GHOSTIP_LONG_RUN", "GHOSTIP_LONG_SCALE"})
        if (const char* factor = std::getenv(name)) product *= std::max(1, std::atoi(factor));
    return product;
}

}  // namespace ghostip::packets

// What a connection pays for going through a Service: bench_connect BINARY [--quick]
//
//     client  -- veth --  node  -- veth --  pods
//     172.30.0.2          ghostip           every endpoint's address, one listener
//
// Three network namespaces of its own; 50,000 Services in the node's rules. Most have two endpoints; the first and the
// last ones have pools of 1, 2, 8, 64 and 512. A connection is timed from connect() to the return of close(), which
// resets it, so that neither side has to remember it. The listener is this process's: the kernel completes the
// handshake within connect(), and accept() is called when the clock stands still. So no other thread has to be woken,
// and what is measured is the packets' way.
//
// All targets are dialled in turn, in another order each round: a slow moment of the machine meets all of them.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/fd.h"
#include "bench/figures.h"
#include "bench/measured_proxy.h"
#include "bench/world.h"
#include "net/address.h"
#include "support/namespace.h"

namespace ghostip::bench {
namespace {

using testnet::Namespace;

constexpr int kRounds = 4000;
constexpr std::array kPoolSizes{1, 2, 8, 64, 512};
constexpr int kUsualPool = 2;

// One thing that is dialled.
struct Target {
    std::string name;
    int pool;
    sockaddr_in address;
    std::vector<double> microseconds = {};
};

sockaddr_in socket_address(const std::string& text, int port) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_port = htons(static_cast<std::uint16_t>(port));
    const auto address = *net::IpAddress::parse(text);
    std::copy_n(address.bytes().data(), address.bytes().size(), reinterpret_cast<std::uint8_t*>(&result.sin_addr));
    return result;
}

class Net {
  public:
    Net() : client_(must(Namespace::create())), node_(must(Namespace::create())), pods_(must(Namespace::create())) {
        must(node_.sysctl("net/ipv4/ip_forward", "1"));
        ip(node_, fmt::format("link add client type veth peer name eth0 netns {}\n"
                              "link add pods type veth peer name eth0 netns {}\n"
                              "addr add 172.30.0.1/24 dev client\nlink set client up\n"
                              "addr add 172.30.1.1/24 dev pods\nlink set pods up\n",
                              client_.path(), pods_.path()));
        ip(client_, "addr add 172.30.0.2/24 dev eth0\nlink set eth0 up\nroute add default via 172.30.0.1\n");
        ip(pods_,
           "addr add 172.30.1.2/24 dev eth0\nlink set eth0 up\nroute add default via 172.30.1.1\n"
           "route add local 172.16.0.0/13 dev lo\n");
        ip(node_, "route add 172.16.0.0/13 via 172.30.1.2\n");
        const auto inside = pods_.enter();
        listener_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const auto address = socket_address("0.0.0.0", kEndpointPort);
        if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            ::listen(listener_.get(), 128) != 0)
            must(Result<void>(fail_errno("listen")));
    }

    [[nodiscard]] const Namespace& node() const { return node_; }

    // Microseconds of connect and close. The calling thread is in the client's namespace.
    [[nodiscard]] double dial(const sockaddr_in& address) const {
        Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        // A lost packet is an error, not a figure.
        const unsigned timeout_milliseconds = 800;
        ::setsockopt(client.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_milliseconds, sizeof timeout_milliseconds);
        const linger reset{1, 0};
        ::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        auto begin = Clock::now();
        if (::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
            must(Result<void>(fail_errno("connect")));
        double milliseconds = milliseconds_since(begin);
        const Fd accepted(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        begin = Clock::now();
        client.reset();
        milliseconds += milliseconds_since(begin);
        return milliseconds * 1000;
    }

    [[nodiscard]] Namespace::Entered as_client() const { return client_.enter(); }

  private:
    static void ip(const Namespace& where, const std::string& lines) {
        static_cast<void>(must(where.must_run({"ip", "-4", "-batch", "-"}, lines)));
    }

    Namespace client_;
    Namespace node_;
    Namespace pods_;
    Fd listener_;
};

// The Services of one size class stand at both ends.
int pool_of(std::size_t service, std::size_t services) {
    if (service < kPoolSizes.size()) return kPoolSizes[service];
    if (service + kPoolSizes.size() >= services) return kPoolSizes[service + kPoolSizes.size() - services];
    return kUsualPool;
}

// For each pool size three, in this order: an endpoint itself, the first Service, the last.
std::vector<Target> write_world(const std::filesystem::path& manifest, int services) {
    ManifestWriter writer(manifest);
    std::array<std::vector<Target>, 2> ends;
    int endpoint = 0;
    for (int s = 0; s < services; ++s) {
        const int pool = pool_of(static_cast<std::size_t>(s), static_cast<std::size_t>(services));
        writer.add({s, endpoint, pool});
        const auto classes = static_cast<int>(kPoolSizes.size());
        if (s < classes || s >= services - classes) {
            auto& end = ends[s < classes ? 0 : 1];
            end.push_back({fmt::format("Service {}", s), pool, socket_address(cluster_ip(s), kServicePort)});
            if (s >= services - classes)
                end.push_back({"endpoint", pool, socket_address(endpoint_ip(endpoint), kEndpointPort)});
        }
        endpoint += pool;
    }
    writer.finish();
    std::vector<Target> targets;
    for (std::size_t i = 0; i < kPoolSizes.size(); ++i) {
        targets.push_back(ends[1][2 * i + 1]);
        targets.push_back(ends[0][i]);
        targets.push_back(ends[1][2 * i]);
    }
    return targets;
}

void dial_all(const Net& net, std::vector<Target>& targets, int rounds) {
    const auto inside = net.as_client();
    std::vector<std::size_t> order(targets.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::mt19937 random(1);
    constexpr int kWarmUp = 200;
    for (int round = -kWarmUp; round < rounds; ++round) {
        std::shuffle(order.begin(), order.end(), random);
        for (const auto i : order) {
            const double microseconds = net.dial(targets[i].address);
            if (round >= 0) targets[i].microseconds.push_back(microseconds);
        }
    }
}

void report(const std::vector<Target>& targets, int services, int rounds) {
    fmt::print(
        "Connect and close, layout `flat` (the only one), {} Services, {} rounds; microseconds, median (p99)\n\n"
        "endpoints of the Service | endpoint itself | first Service | last Service | last / first | last - endpoint\n"
        "---|---|---|---|---|---\n",
        with_commas(services), with_commas(rounds));
    double ratio = 0;
    double extra = 0;
    for (std::size_t i = 0; i < targets.size(); i += 3) {
        std::array<double, 3> medians{};
        std::array<std::string, 3> texts;
        for (std::size_t k = 0; k < 3; ++k) {
            medians[k] = median(targets[i + k].microseconds);
            texts[k] = fmt::format("{:.1f} ({:.0f})", medians[k], percentile(targets[i + k].microseconds, 0.99));
        }
        fmt::print("{} | {} | {} | {} | {:.3f} | {:.1f}\n", targets[i].pool, texts[0], texts[1], texts[2],
                   medians[2] / medians[1], medians[2] - medians[0]);
        ratio = std::max(ratio, medians[2] / medians[1]);
        extra = std::max(extra, medians[2] - medians[0]);
    }
    fmt::print("\ntarget | measured | wanted | \n---|---|---|---\n");
    fmt::print("last of all Services / first, largest | {:.3f} | 1.1 | {}\n", ratio,
               ratio <= 1.1 ? "reached" : "missed");
    fmt::print("last - endpoint itself, largest | {:.1f} us | 15 us | {}\n", extra, extra <= 15 ? "reached" : "missed");
}

int run(int argc, char** argv) {
    if (argc < 2) {
        fmt::print(stderr, "usage: bench_connect BINARY [--quick]\n");
        return 2;
    }
    const bool quick = argc > 2 && std::string(argv[2]) == "--quick";
    const int services = quick ? 1000 : 50000;
    const int rounds = quick ? 200 : kRounds;
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("ghostip-bench-{}", ::getpid());
    std::filesystem::create_directory(folder);
    const auto manifest = folder / "manifest.json";
    auto targets = write_world(manifest, services);
    const Net net;
    static_cast<void>(must(measure_proxy(net.node(), {argv[1], manifest})));
    std::filesystem::remove_all(folder);
    dial_all(net, targets, rounds);
    report(targets, services, rounds);
    return 0;
}

}  // namespace
}  // namespace ghostip::bench

int main(int argc, char** argv) { return ghostip::bench::run(argc, argv); }

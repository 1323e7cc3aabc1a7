#include "bench/dial.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <random>

#include <fmt/format.h>

#include "bench/figures.h"
#include "bench/world.h"
#include "net/address.h"

namespace ghostip::bench {
namespace {

using testnet::Namespace;

void ip(const Namespace& where, const std::string& lines) {
    static_cast<void>(must(where.must_run({"ip", "-4", "-batch", "-"}, lines)));
}

}  // namespace

sockaddr_in socket_address(const std::string& text, int port) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_port = htons(static_cast<std::uint16_t>(port));
    const auto address = *net::IpAddress::parse(text);
    std::copy_n(address.bytes().data(), address.bytes().size(), reinterpret_cast<std::uint8_t*>(&result.sin_addr));
    return result;
}

DialNet::DialNet()
    : client_(must(Namespace::create())), node_(must(Namespace::create())), pods_(must(Namespace::create())) {
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

// Microseconds of connect and close. The calling thread is in the client's namespace.
double DialNet::dial(const sockaddr_in& address) const {
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

void DialNet::dial_all(std::vector<DialTarget>& targets, int rounds) const {
    const auto inside = client_.enter();
    std::vector<std::size_t> order(targets.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::mt19937 random(1);
    constexpr int kWarmUp = 200;
    for (int round = -kWarmUp; round < rounds; ++round) {
        std::shuffle(order.begin(), order.end(), random);
        for (const auto i : order) {
            const double microseconds = dial(targets[i].address);
            if (round >= 0) targets[i].microseconds.push_back(microseconds);
        }
    }
}

}  // namespace ghostip::bench

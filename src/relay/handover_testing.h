// A folder with a socket of a hand-over in it, what an old process gives, and peers that speak by hand.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "relay/handover.h"
#include "relay/handover_wire.h"
#include "relay/relay_testing.h"

namespace ghostip::relay::testing {

using std::chrono::milliseconds;
using wire::Kind;

inline constexpr auto kTcp = net::Protocol::kTcp;
inline constexpr auto kUdp = net::Protocol::kUdp;
inline constexpr auto kSoon = [] { return std::chrono::steady_clock::now() + kLongest; };

inline std::size_t open_descriptors() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

inline NamedListener named(std::string name, int type = SOCK_STREAM, int sockets = 1) {
    NamedListener listener{std::move(name), type == SOCK_STREAM ? net::Protocol::kTcp : net::Protocol::kUdp, {}};
    for (int i = 0; i < sockets; ++i) listener.sockets.push_back(bind_free(type).socket);
    return listener;
}

inline std::vector<NamedListener> one_tcp() {
    std::vector<NamedListener> listeners;
    listeners.push_back(named("web"));
    return listeners;
}

// A session with an endpoint of its own, which need not be there.
inline NamedSession session_with(std::uint16_t port, std::uint16_t endpoint) {
    NamedSession session;
    session.of.listener = "dns";
    session.of.flow.client = loopback(net::Family::kIpv4, port);
    session.of.flow.local = loopback(net::Family::kIpv4, 53);
    session.of.flow.endpoint = loopback(net::Family::kIpv4, endpoint);
    session.socket = connect_to(session.of.flow.endpoint, SOCK_DGRAM);
    return session;
}

inline Clients clients_of(int affinities, int sessions) {
    Clients clients;
    for (int i = 0; i < affinities; ++i) {
        const std::array<std::uint8_t, 4> bytes{10, static_cast<std::uint8_t>(i >> 16U),
                                                static_cast<std::uint8_t>(i >> 8U), static_cast<std::uint8_t>(i)};
        clients.affinities.push_back(
            {"IPv4 TCP default/web:http cluster",
             {net::IpAddress::from_bytes(net::Family::kIpv4, bytes.data()),
              loopback(net::Family::kIpv6, static_cast<std::uint16_t>(i)), milliseconds(i * 100L)}});
    }
    for (int i = 0; i < sessions; ++i)
        clients.sessions.push_back(session_with(static_cast<std::uint16_t>(1000 + i), static_cast<std::uint16_t>(9)));
    return clients;
}

class HandoverSocket : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = std::filesystem::temp_directory_path() / "handover-XXXXXX";
        folder_ = ::mkdtemp(name.data());
        path_ = folder_ / "socket";
    }
    void TearDown() override {
        server_.reset();
        std::filesystem::remove_all(folder_);
    }

    HandoverCallbacks callbacks() {
        return {.successor_came = [this]() -> Result<std::vector<NamedListener>> {
                    ++came_;
                    return make_();
                },
                .successor_writes = [this] { ++writes_; },
                .taken = [this] { ++taken_; },
                .successor_failed = [this](const Error&) { ++failed_; },
                .let_go = let_go_,
                .take_back =
                    [this](const Clients& clients) {
                        taken_back_ = clients.sessions.size();
                        for (const auto& session : clients.sessions) EXPECT_TRUE(session.socket);
                    }};
    }
    void serve(HandoverTimeouts timeouts = {}) {
        auto server = HandoverServer::open(path_, callbacks(), timeouts);
        ASSERT_TRUE(server) << server.error().message;
        server_ = std::move(*server);
    }
    [[nodiscard]] Result<std::optional<Handover>> ask() const { return Handover::ask(path_, kLongest); }
    // A peer that speaks by hand.
    [[nodiscard]] Fd dial() const { return std::move(*wire::connect_to(path_, kLongest).value()); }
    // The kind of its answer; absent where it ended.
    static std::optional<Kind> answer(const Fd& peer) {
        auto received = wire::receive(peer.get(), kSoon(), wire::Descriptors::kTake);
        if (!received || !*received) return std::nullopt;
        return (*received)->message.kind;
    }
    void expect_alive() {
        const int taken = taken_;
        auto handover = ask();
        ASSERT_TRUE(handover) << handover.error().message;
        ASSERT_TRUE(*handover);
        EXPECT_TRUE((*handover)->done());
        EXPECT_TRUE(eventually([&] { return taken_ == taken + 1; }));
    }

    std::filesystem::path folder_;
    std::string path_;
    std::function<Result<std::vector<NamedListener>>()> make_ = [] { return one_tcp(); };
    std::function<Clients(const std::vector<std::string>&)> let_go_ = nullptr;
    std::atomic<std::size_t> taken_back_ = 0;
    std::atomic<int> came_ = 0;
    std::atomic<int> writes_ = 0;
    std::atomic<int> taken_ = 0;
    std::atomic<int> failed_ = 0;
    std::unique_ptr<HandoverServer> server_;
};

}  // namespace ghostip::relay::testing

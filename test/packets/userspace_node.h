// A node in userspace mode, the real program, with what its tests ask: probes, echoes, metrics.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "packets/echo.h"
#include "packets/live_node.h"
#include "support/probe.h"

namespace ghostip::packets {

inline constexpr std::chrono::milliseconds kAnswerWithin(5000);
inline constexpr std::chrono::seconds kSoon(20);

class Userspace : public ::testing::TestWithParam<net::Family> {
  protected:
    void SetUp() override {
        auto live = LiveNode::create(GetParam());
        ASSERT_TRUE(live) << live.error().message;
        live_ = std::move(*live);
        live_->set_mode("userspace");
        auto engine = testnet::ProbeEngine::create(live_->topology());
        ASSERT_TRUE(engine) << engine.error().message;
        engine_ = std::move(*engine);
        const auto listening = engine_->listen({kProbeTarget});
        ASSERT_TRUE(listening) << listening.error().message;
    }
    void put(const ServiceSpec& service) const { live_->write(service.name + ".yaml", manifest({service})); }
    void start(const std::vector<std::string>& flags = {}) {
        live_->add_flags(flags);
        const auto took = live_->start_and_wait();
        ASSERT_TRUE(took) << took.error().message;
    }
    void serve_echoes() {
        for (const auto place : {testnet::Place::kPods, testnet::Place::kRemote}) {
            auto server = EchoServer::start(live_->topology().at(place), GetParam(), kEchoTarget);
            ASSERT_TRUE(server) << server.error().message;
            servers_.push_back(std::move(*server));
        }
    }
    [[nodiscard]] Result<EchoClient> client(std::string_view to, std::string_view from = "10.0.1.7") const {
        return EchoClient::open(live_->topology().at(testnet::Place::kPods), net::Protocol::kTcp, live_->address(from),
                                live_->address(to), kEchoPort);
    }
    [[nodiscard]] testnet::Outcome dial(testnet::Place from, std::string_view source, std::string_view to,
                                        std::uint16_t port, net::Protocol protocol = net::Protocol::kTcp) const {
        const auto outcomes =
            engine_->run({testnet::Probe{from, live_->address(source), live_->address(to), protocol, port}},
                         std::chrono::milliseconds(500));
        if (outcomes) return outcomes->front();
        testnet::Outcome failed;
        failed.seen = testnet::Seen::kError;
        failed.detail = outcomes.error().message;
        return failed;
    }
    // `ghostip explain --live` of a client outside.
    [[nodiscard]] testnet::Output explain(std::string_view to, std::uint16_t port,
                                          std::string_view protocol = "TCP") const {
        const auto target = fmt::format("{}/{}", net::host_port(live_->address(to), port), protocol);
        auto explained = live_->explain({"--live", live_->address("203.0.113.2").text(), target});
        return explained ? *explained : testnet::Output{-1, "", explained.error().message};
    }
    // Makes this the only endpoint of kWeb. True: all new clients are there, twice as many in a row as there were
    // endpoints.
    [[nodiscard]] bool moves_to(const std::string& endpoint) const;
    [[nodiscard]] bool soon(const std::function<bool()>& done) const { return wait_until(kSoon, done); }
    // Of all series of that name, the sum.
    [[nodiscard]] double counted(std::string_view name) const {
        constexpr std::uint16_t kMetricsPort = 10249;
        const auto text = live_->page(kMetricsPort, "/metrics");
        double sum = 0;
        std::size_t at = 0;
        while (at < text.size()) {
            const auto end = std::min(text.find('\n', at), text.size());
            const auto line = std::string_view(text).substr(at, end - at);
            at = end + 1;
            if (!line.starts_with(name) || (line[name.size()] != '{' && line[name.size()] != ' ')) continue;
            sum += std::stod(std::string(line.substr(line.rfind(' ') + 1)));
        }
        return sum;
    }

    std::unique_ptr<LiveNode> live_;
    std::unique_ptr<testnet::ProbeEngine> engine_;
    std::vector<std::unique_ptr<EchoServer>> servers_;
};

inline const ServiceSpec kWeb{.name = "web",
                              .cluster_ip = "172.30.0.41",
                              .external_ip = {},
                              .node_port = 30080,
                              .sticky = false,
                              .endpoints = {"10.180.0.1", "10.181.2.1"}};

inline bool Userspace::moves_to(const std::string& endpoint) const {
    auto moved = kWeb;
    moved.endpoints = {endpoint};
    put(moved);
    for (std::size_t i = 0; i < 2 * kWeb.endpoints.size(); ++i) {
        auto fresh = client(kWeb.cluster_ip);
        const auto answered = fresh ? fresh->ask(kAnswerWithin) : fresh.error();
        if (!answered || *answered != live_->address(endpoint)) return false;
    }
    return true;
}

}  // namespace ghostip::packets

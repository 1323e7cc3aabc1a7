// Killed at any moment of a start or of a change, the proxy leaves rules that send nobody wrong; and the next start
// makes of them what a start from nothing would have made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <csignal>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "packets/live_node.h"
#include "packets/ruleset_text.h"
#include "packets/traffic.h"

namespace ghostip::packets {
namespace {

using std::chrono::microseconds;
using testnet::Outcome;
using testnet::Place;
using testnet::Probe;
using testnet::Seen;
using Clock = std::chrono::steady_clock;

constexpr int kServices = 400;
constexpr int kPerRange = 200;
constexpr std::size_t kProbesAtOnce = 60;
constexpr std::chrono::milliseconds kQuiet(300);
constexpr std::chrono::milliseconds kRest(10);  // leaves the proxy some of the processor
constexpr std::size_t kTroublesKept = 10;
constexpr std::chrono::seconds kPatience(60);

// Endpoints of one Service in a version of the world: 1 to 8, and none are shared between Services. Every fifth Service
// has none in a version, some are there in version 0 only.
ServiceSpec service(int number, int version) {
    const auto place = fmt::format("{}.{}", number / kPerRange, 1 + number % kPerRange);
    ServiceSpec one{fmt::format("s{}", number), "172.30." + place, "1.2." + place,
                    number % 3 == 0 ? 30000 + number : 0};
    const int endpoints = (number + version) % 5 == 0 ? 0 : 1 + (number + 3 * version) % 8;
    for (int i = 0; i < endpoints; ++i) one.endpoints.push_back(fmt::format("10.{}.{}", 190 + i + 4 * version, place));
    one.echoes = false;
    return one;
}
bool exists(int number, int version) { return number % 50 != 7 || version == 0; }

std::vector<ServiceSpec> world(int version) {
    std::vector<ServiceSpec> services;
    for (int number = 0; number < kServices; ++number)
        if (exists(number, version)) services.push_back(service(number, version));
    return services;
}

constexpr int kColdVersion = 1;  // of the world in which starts from nothing happen

enum class What { kColdStart, kStartIntoChange, kChange };

std::string_view name_of(What what) {
    switch (what) {
        case What::kColdStart: return "ColdStart";
        case What::kStartIntoChange: return "StartIntoChange";
        case What::kChange: return "Change";
    }
    return "?";
}

class Kill : public ::testing::TestWithParam<What> {
  protected:
    void SetUp() override {
        const auto ready = set_up();
        ASSERT_TRUE(ready) << ready.error().message;
        seed_ = std::random_device()();
        if (const char* seed = std::getenv("GHOSTIP_SEED"))
            seed_ = static_cast<unsigned>(std::strtoul(seed, nullptr, 10));
        random_.seed(seed_);
    }

    Result<void> set_up() {
        ASSIGN_OR_RETURN(live_, LiveNode::create(net::Family::kIpv4));
        ASSIGN_OR_RETURN(engine_, testnet::ProbeEngine::create(live_->topology()));
        RETURN_IF_ERROR(engine_->listen({kProbePort, kProbeTarget}));
        // Something that tracks connections, as every node has it. Without, the first rules of a start are what makes
        // the kernel track, and the next packet of a connection that was there before counts as the first of a new one
        // (net.netfilter.nf_conntrack_tcp_loose).
        RETURN_IF_ERROR(live_->track_connections());
        for (const int version : {1 - kColdVersion, kColdVersion}) {
            worlds_[static_cast<std::size_t>(version)] = manifest(world(version));
            RETURN_IF_ERROR(from_nothing());
            become(version);
            RETURN_IF_ERROR(live_->start_and_wait());
            live_->stop(SIGKILL);
            ASSIGN_OR_RETURN(fresh_[static_cast<std::size_t>(version)], live_->listing());
        }
        return {};
    }
    void become(int version) {
        version_ = version;
        live_->write("world.yaml", worlds_[static_cast<std::size_t>(version)]);
    }
    // While no connection is under way: one that is translated does not survive its rules.
    [[nodiscard]] Result<void> from_nothing() {
        const std::lock_guard lock(probing_);
        ASSIGN_OR_RETURN(const auto said, live_->run_ghostip("cleanup", false));
        static_cast<void>(said);
        return {};
    }

    // Everything up to the moment from which on the proxy may be killed.
    Result<void> prepare() {
        if (GetParam() == What::kColdStart) {
            RETURN_IF_ERROR(from_nothing());
        } else {
            RETURN_IF_ERROR(live_->start_and_wait());
            if (GetParam() == What::kStartIntoChange) live_->stop(SIGTERM);
        }
        ASSIGN_OR_RETURN(generation_, live_->generation());
        if (GetParam() != What::kColdStart) become(1 - version_);
        if (GetParam() == What::kChange) return {};
        return live_->start();
    }
    // The work that is to be interrupted: from its start to the first write and to its end.
    struct Times {
        microseconds to_first_write;
        microseconds to_end;
    };
    Result<Times> uninterrupted() {
        RETURN_IF_ERROR(prepare());
        const auto begin = Clock::now();
        RETURN_IF_ERROR(wait_first_write());
        const auto first_write = Clock::now();
        if (!wait_until(kPatience, [&] { return was_done(); })) return fail("it never ended:\n{}", live_->log());
        return Times{std::chrono::duration_cast<microseconds>(first_write - begin),
                     std::chrono::duration_cast<microseconds>(Clock::now() - begin)};
    }
    Result<void> wait_first_write() {
        if (wait_until(kPatience, [&] { return live_->generation().value_or(0) != generation_; })) return {};
        return fail("nothing was ever written:\n{}", live_->log());
    }
    // The program said that it had done what was to be interrupted.
    [[nodiscard]] bool was_done() const {
        constexpr std::string_view kLine = "IPv4: synced in";
        const auto log = live_->log();
        const auto first = log.find(kLine);
        if (GetParam() != What::kChange || first == std::string::npos) return first != std::string::npos;
        return log.find(kLine, first + 1) != std::string::npos;
    }
    // Which rules the killed one left: those of before, those of after, or neither.
    void count_state() {
        const auto listing = live_->listing();
        const auto after = static_cast<std::size_t>(version_);
        const bool as_before = GetParam() == What::kColdStart ? !listing : listing && *listing == fresh_[1 - after];
        ++(as_before ? before_ : listing && *listing == fresh_[after] ? after_ : between_);
    }
    // In what the kernel differs from what a start from nothing would have put there.
    [[nodiscard]] std::string unlike_fresh() const {
        const auto listing = live_->listing();
        if (!listing) return listing.error().message;
        return first_difference(*listing, fresh_[static_cast<std::size_t>(version_)]);
    }

    // Who may ever answer there.
    [[nodiscard]] std::set<net::IpAddress> pool(int number) const {
        std::set<net::IpAddress> all;
        for (const int version : {0, 1})
            if (GetParam() != What::kColdStart || version == kColdVersion)
                for (const auto& endpoint : service(number, version).endpoints) all.insert(live_->address(endpoint));
        return all;
    }

    [[nodiscard]] bool always_there(int number) const {
        return exists(number, kColdVersion) && (GetParam() == What::kColdStart || exists(number, 1 - kColdVersion));
    }

    // Connections to some Services, each by one of its ways.
    void probe() {
        std::vector<Probe> probes;
        std::vector<int> of;
        while (probes.size() < kProbesAtOnce) {
            const int number = static_cast<int>(which_() % kServices);
            const auto one = service(number, 0);
            const auto from = which_() % 2 == 0 ? Place::kPods : Place::kOutside;
            const auto way = which_() % 3;
            if (way == 2 && one.node_port == 0) continue;
            const std::array<std::string_view, 3> ways{one.cluster_ip, one.external_ip, kOwnAddress};
            probes.push_back({from, sources_.next(from), live_->address(ways[way]),
                              which_() % 2 == 0 ? net::Protocol::kTcp : net::Protocol::kUdp,
                              static_cast<std::uint16_t>(way == 2 ? one.node_port : kProbePort)});
            of.push_back(number);
        }
        const std::lock_guard lock(probing_);
        const auto outcomes = engine_->run(probes, kQuiet);
        if (!outcomes) troubles_.push_back(outcomes.error().message);
        for (std::size_t i = 0; outcomes && i < probes.size(); ++i) {
            ++seen_[static_cast<std::size_t>((*outcomes)[i].seen)];
            const auto reason = wrong(of[i], probes[i], (*outcomes)[i]);
            if (reason.empty() || troubles_.size() >= kTroublesKept) continue;
            troubles_.push_back(fmt::format("s{} {}: {}: {}", of[i], probes[i].text(), reason, (*outcomes)[i].text()));
        }
        ++batches_;
    }

    // Why that outcome must not be, if so.
    [[nodiscard]] std::string wrong(int number, const Probe& probe, const Outcome& outcome) const {
        const bool node_port = probe.destination == live_->address(kOwnAddress);
        if (outcome.seen == Seen::kAnswered) {
            if (outcome.endpoint_port == kProbeTarget && pool(number).contains(outcome.endpoint)) return "";
            return outcome.untranslated(probe) ? "" : "somebody else answered";
        }
        if (outcome.seen == Seen::kRejected) return "";
        // A flow is forgotten when its endpoint leaves, also between the question and the answer.
        if (outcome.arrived && GetParam() != What::kColdStart && probe.protocol == net::Protocol::kUdp &&
            outcome.endpoint_port == kProbeTarget && pool(number).contains(outcome.endpoint))
            return "";
        // The node's own refusal of a port that nobody serves.
        if (outcome.seen == Seen::kReset && node_port) return "";
        // A cluster IP that no Service has is dropped.
        const bool cluster_ip = !node_port && probe.destination == live_->address(service(number, 0).cluster_ip);
        if (outcome.seen == Seen::kDropped && cluster_ip && !always_there(number)) return "";
        return "neither answered nor refused";
    }

    // Clients come while this lives.
    class Clients {
      public:
        explicit Clients(Kill& test)
            : test_(test), thread_([this] {
                  while (!stop_) {
                      test_.probe();
                      std::this_thread::sleep_for(kRest);
                  }
              }) {}
        ~Clients() {
            stop_ = true;
            thread_.join();
        }
        Clients(const Clients&) = delete;
        Clients& operator=(const Clients&) = delete;

      private:
        Kill& test_;
        std::atomic<bool> stop_ = false;
        std::thread thread_;
    };

    // One start or change that is interrupted, and the start after it.
    enum class From { kBegin, kFirstWrite };
    Result<void> round(From from, microseconds delay) {
        RETURN_IF_ERROR(prepare());
        const auto begin = Clock::now();
        if (from == From::kFirstWrite) RETURN_IF_ERROR(wait_first_write());
        std::this_thread::sleep_until((from == From::kBegin ? begin : Clock::now()) + delay);
        live_->stop(SIGKILL);
        // One batch may have begun before, the next has not.
        const auto enough = batches_ + 2;
        if (!wait_until(kPatience, [&] { return batches_ >= enough; })) return fail("clients are stuck");
        count_state();
        RETURN_IF_ERROR(live_->start_and_wait());
        const auto more = batches_ + 2;
        if (!wait_until(kPatience, [&] { return batches_ >= more; })) return fail("clients are stuck");
        const auto difference = unlike_fresh();
        live_->stop(SIGTERM);
        if (!difference.empty()) return fail("the kernel differs from a start from nothing:\n{}", difference);
        return {};
    }

    std::unique_ptr<LiveNode> live_;
    std::unique_ptr<testnet::ProbeEngine> engine_;
    Sources sources_{net::Family::kIpv4};
    std::array<std::string, 2> worlds_;  // manifests
    std::array<std::string, 2> fresh_;   // listings
    int version_ = 0;
    unsigned seed_ = 0;
    std::mt19937 random_;
    std::uint32_t generation_ = 0;  // of the rules before the work that is to be interrupted
    int before_ = 0;                // kills, by what was left
    int between_ = 0;
    int after_ = 0;

    std::mutex probing_;  // held while connections are under way

    // Of the clients, while they run.
    std::mt19937 which_{1};
    std::vector<std::string> troubles_;
    std::array<std::uint64_t, 5> seen_{};
    std::atomic<std::uint64_t> batches_ = 0;
};

TEST_P(Kill, AtAnyMomentSendsNobodyWrong) {
    const int rounds = 4 * long_scale();
    Times times{};
    {
        const Clients clients(*this);
        const auto measured = uninterrupted();
        ASSERT_TRUE(measured) << measured.error().message;
        times = *measured;
        live_->stop(SIGTERM);
        for (int number = 0; number < rounds; ++number) {
            // Any moment of it, and sometimes a moment after; every second time, one since the first write.
            const auto from = number % 2 == 0 ? From::kBegin : From::kFirstWrite;
            const auto most = from == From::kBegin ? times.to_end * 3 / 2 : times.to_end - times.to_first_write;
            const microseconds delay(random_() % static_cast<unsigned>(most.count() + 1));
            SCOPED_TRACE(fmt::format("GHOSTIP_SEED={}, round {}, killed {} us after its {}", seed_, number,
                                     delay.count(), from == From::kBegin ? "begin" : "first write"));
            const auto done = round(from, delay);
            ASSERT_TRUE(done) << done.error().message;
        }
    }
    EXPECT_THAT(troubles_, ::testing::IsEmpty()) << "GHOSTIP_SEED=" << seed_;
    EXPECT_GT(before_ + between_, 0) << "the proxy was never killed before it was done";
    fmt::print(
        "  seed {}: {} kills (first write after {} ms, done after {} ms) of {}, which left the rules of before {} "
        "times, those of after {} times, in "
        "between {} times; connections: {} answered, {} rejected, {} dropped, {} reset\n",
        seed_, rounds, times.to_first_write.count() / 1000, times.to_end.count() / 1000, name_of(GetParam()), before_,
        after_, between_, seen_[0], seen_[1], seen_[2], seen_[3]);
}

INSTANTIATE_TEST_SUITE_P(During, Kill, ::testing::Values(What::kColdStart, What::kStartIntoChange, What::kChange),
                         [](const auto& one) { return std::string(name_of(one.param)); });

}  // namespace
}  // namespace ghostip::packets

// The real agent against an API server that misbehaves, with a stream of connections through its node. In every case:
// what was programmed goes on serving, changes arrive when the server is well again, without a restart, and the log has
// few lines about it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "api/decode.h"
#include "kubernetes/api_server.h"
#include "packets/live_node.h"
#include "packets/traffic.h"

namespace ghostip::testkubernetes {
namespace {

using packets::LiveNode;
using packets::ServiceSpec;
using packets::Traffic;
using packets::wait_until;
using ::testing::IsEmpty;
using How = Fault::How;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kCrowd = 60;
constexpr milliseconds kTroubleLasts(1500);
constexpr seconds kPatience(40);

std::vector<ServiceSpec> used() {
    return {{"plain", "172.30.0.1", "1.2.3.1", 30001, false, {"10.180.0.1", "10.180.0.2", "10.181.0.3"}}};
}

ServiceSpec one_of_crowd(int number, int version = 0) {
    return {fmt::format("crowd-{}", number),
            fmt::format("172.30.64.{}", 1 + number),
            {},
            0,
            false,
            {fmt::format("10.182.{}.{}", version, 1 + number), fmt::format("10.183.{}.{}", version, 1 + number)},
            false};
}

class Collect final : public api::DecodeSink {
  public:
    void object(api::Decoded decoded) override { objects.push_back(std::move(decoded.object)); }
    void problem(api::Problem problem) override { ADD_FAILURE() << problem.text(); }
    std::vector<api::Object> objects;
};

std::vector<api::Object> objects_of(const std::string& manifest) {
    Collect collected;
    api::MemoryReader reader(manifest);
    static_cast<void>(api::decode(reader, api::Format::kYaml, "test", collected));
    return collected.objects;
}

class Trouble : public ::testing::Test {
  protected:
    void SetUp() override {
        auto live = LiveNode::create(net::Family::kIpv4);
        ASSERT_TRUE(live) << live.error().message;
        live_ = std::move(*live);
        const auto inside = live_->node().enter();
        auto server = ApiServer::open();
        ASSERT_TRUE(server) << server.error().message;
        server_ = std::move(*server);
        server_->set_bookmark_interval(milliseconds(300));
        put(packets::range_manifest());
        put(packets::manifest(used()));
        for (int i = 0; i < kCrowd; ++i) put(packets::manifest({one_of_crowd(i)}));
        // The machine's own conntrack is not ours to size.
        live_->follow(server_->url(), {"--proxy-mode", "nftables", "--watch-stall-limit", "3s",
                                       "--conntrack-max-per-core", "0", "--conntrack-min", "0"});
    }

    void put(const std::string& manifest) const {
        for (const auto& object : objects_of(manifest)) server_->put(object);
    }
    void start() {
        const auto started = live_->start_and_wait();
        ASSERT_TRUE(started) << started.error().message;
    }
    void start_traffic() {
        auto traffic = Traffic::start(*live_, targets_of(*live_, used()));
        ASSERT_TRUE(traffic) << traffic.error().message << "\n" << live_->log();
        traffic_ = std::move(*traffic);
    }
    void end_traffic() {
        const auto report = traffic_->end();
        EXPECT_THAT(report.failures, IsEmpty());
        EXPECT_GT(report.connections, 50U);
    }
    // The kernel has this Service's endpoint.
    [[nodiscard]] bool has_endpoint(const std::string& address) const {
        const auto listing = live_->nft({"list", "map", "ip", "ghostip", "endpoints"});
        return listing && listing->find(" " + address + " ") != std::string::npos;
    }
    // A change that is made now arrives.
    void expect_follows(int number) const {
        put(packets::manifest({one_of_crowd(number, 1)}));
        const auto address = one_of_crowd(number, 1).endpoints.front();
        EXPECT_TRUE(wait_until(kPatience, [&] { return has_endpoint(address); })) << address << "\n" << live_->log();
    }
    [[nodiscard]] std::size_t bad_lines() const {
        std::size_t count = 0;
        const auto log = live_->log();
        for (const auto* level : {" WARN", " ERROR"})
            for (auto at = log.find(level); at != std::string::npos; at = log.find(level, at + 1)) ++count;
        return count;
    }

    std::unique_ptr<LiveNode> live_;
    std::unique_ptr<ApiServer> server_;
    std::unique_ptr<Traffic> traffic_;
};

struct Case {
    const char* name;
    std::function<void(ApiServer&)> begin;
    std::function<void(ApiServer&)> end = [](ApiServer& server) { server.set_fault(nullptr); };
};

// Answers of this kind from now on, and every watch has to be asked for again.
std::function<void(ApiServer&)> all(Fault fault) {
    return [fault](ApiServer& server) {
        server.set_fault([fault](const Asked&) { return fault; });
        server.end_watches();
    };
}

// The same for who has to list, since its resource version is gone.
std::function<void(ApiServer&)> all_lists(Fault fault) {
    return [fault](ApiServer& server) {
        server.set_fault([fault](const Asked&) { return fault; });
        server.compact();
        server.end_watches();
    };
}

const std::vector<Case>& cases() {
    static const std::vector<Case> table{
        {"GoesAway", [](ApiServer& server) { server.go_away(); },
         [](ApiServer& server) { ASSERT_TRUE(server.come_back()); }},
        {"EndsAllWatches", [](ApiServer& server) { server.end_watches(); }, [](ApiServer&) {}},
        {"ForgetsHistory",
         [](ApiServer& server) {
             server.compact();
             server.end_watches();
         },
         [](ApiServer&) {}},
        {"Unauthorized", all({.how = How::kStatus, .status = 401})},
        {"Forbidden", all({.how = How::kStatus, .status = 403})},
        {"TooManyRequests", all({.how = How::kStatus, .status = 429, .retry_after_seconds = 1})},
        {"InternalError", all({.how = How::kStatus, .status = 500})},
        {"UnavailableForLists", all_lists({.how = How::kStatus, .status = 503, .retry_after_seconds = 1})},
        {"Garbage", all({.how = How::kGarbage})},
        {"GarbageLists", all_lists({.how = How::kGarbage})},
        {"HalfAMessage", all_lists({.how = How::kHalf})},
        {"OneByteASecond", all_lists({.how = How::kTrickle, .pause = milliseconds(1000)}),
         [](ApiServer& server) {
             server.set_fault(nullptr);
             server.end_watches();
         }},
        {"Resets", all({.how = How::kReset})},
        {"AcceptsAndSaysNothing", all({.how = How::kSilentHead})},
        {"WatchesThatAreDead", all({.how = How::kSilentStream})},
        {"SpeaksJsonOnlyFromNowOn",
         [](ApiServer& server) {
             server.set_protobuf(false);
             server.compact();
             server.end_watches();
         }},
        {"HasNoStreamingListsAnyMore",
         [](ApiServer& server) {
             server.set_streaming_lists(false);
             server.compact();
             server.end_watches();
         }},
        {"RestoredFromABackup",
         [](ApiServer& server) {
             std::vector<api::Object> objects;
             for (const auto kind : {api::Kind::kService, api::Kind::kEndpointSlice, api::Kind::kServiceCidr})
                 for (auto& object : server.objects(kind)) objects.push_back(std::move(object));
             server.restore(std::move(objects), 10);
         },
         [](ApiServer&) {}},
    };
    return table;
}

class Troubles : public Trouble, public ::testing::WithParamInterface<std::size_t> {};

TEST_P(Troubles, AreNotFelt) {
    const auto& one = cases()[GetParam()];
    start();
    ASSERT_FALSE(HasFatalFailure());
    start_traffic();
    ASSERT_FALSE(HasFatalFailure());
    expect_follows(0);
    one.begin(*server_);
    std::this_thread::sleep_for(kTroubleLasts);  // that is the case: trouble for so long
    put(packets::manifest({one_of_crowd(1, 1)}));
    server_->remove({api::Kind::kService, "test", "crowd-2"});
    one.end(*server_);
    const auto missed = one_of_crowd(1, 1).endpoints.front();
    const auto removed = one_of_crowd(2).endpoints.front();
    EXPECT_TRUE(wait_until(kPatience, [&] { return has_endpoint(missed) && !has_endpoint(removed); })) << live_->log();
    expect_follows(3);
    end_traffic();
    EXPECT_TRUE(live_->running()) << live_->log();
    EXPECT_LE(bad_lines(), 12U) << live_->log();
}

INSTANTIATE_TEST_SUITE_P(Cases, Troubles, ::testing::Range(std::size_t{0}, cases().size()),
                         [](const auto& one) { return std::string(cases()[one.param].name); });

// What an earlier run left goes on serving while the server is away at the start, and is taken over when it comes.
TEST_F(Trouble, AwayAtTheStart) {
    start();
    ASSERT_FALSE(HasFatalFailure());
    start_traffic();
    ASSERT_FALSE(HasFatalFailure());
    live_->stop(SIGTERM);
    server_->go_away();
    ASSERT_TRUE(live_->start());
    std::this_thread::sleep_for(kTroubleLasts);
    EXPECT_TRUE(live_->running()) << live_->log();
    EXPECT_TRUE(has_endpoint("10.180.0.1"));
    ASSERT_TRUE(server_->come_back());
    ASSERT_TRUE(live_->wait_synced());
    expect_follows(0);
    end_traffic();
    EXPECT_LE(bad_lines(), 12U) << live_->log();
}

// A valid answer without most of what there was is not believed at once.
TEST_F(Trouble, AnEmptyAnswerIsHeld) {
    start();
    ASSERT_FALSE(HasFatalFailure());
    start_traffic();
    ASSERT_FALSE(HasFatalFailure());
    std::vector<api::Object> before;
    for (const auto kind : {api::Kind::kService, api::Kind::kEndpointSlice, api::Kind::kServiceCidr})
        for (auto& object : server_->objects(kind)) before.push_back(std::move(object));
    server_->restore({}, 500'000);
    EXPECT_TRUE(wait_until(kPatience, [&] {
        const auto log = live_->log();
        return log.find("services: the server's list lacks") != std::string::npos &&
               log.find("endpointslices: the server's list lacks") != std::string::npos;
    })) << live_->log();
    EXPECT_TRUE(has_endpoint("10.180.0.1"));
    EXPECT_TRUE(has_endpoint(one_of_crowd(5).endpoints.front()));
    server_->restore(before, 900'000);
    expect_follows(0);
    end_traffic();
}

// Unless it is confirmed.
TEST_F(Trouble, AnEmptyAnswerIsBelievedTheSecondTime) {
    start();
    ASSERT_FALSE(HasFatalFailure());
    server_->restore(objects_of(packets::manifest(used())), 500'000);
    EXPECT_TRUE(wait_until(kPatience, [&] { return !has_endpoint(one_of_crowd(5).endpoints.front()); }))
        << live_->log();
    EXPECT_TRUE(has_endpoint("10.180.0.1"));
}

// A server that never spoke protobuf, or never had streaming lists, and pages its lists.
TEST_F(Trouble, OldServers) {
    for (const bool protobuf : {false, true})
        for (const bool streaming : {false, true}) {
            server_->set_protobuf(protobuf);
            server_->set_streaming_lists(streaming);
            start();
            ASSERT_FALSE(HasFatalFailure());
            EXPECT_TRUE(has_endpoint("10.180.0.1"));
            expect_follows(protobuf ? streaming ? 1 : 2 : streaming ? 3 : 4);
            live_->stop(SIGTERM);
        }
}

}  // namespace
}  // namespace ghostip::testkubernetes

#include "source/kubernetes/kubernetes_source.h"

#include <gmock/gmock.h>

#include <condition_variable>
#include <set>

#include "source/kubernetes/reflector_testing.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using testing::added;
using testing::deleted;
using testing::event;
using ::testing::HasSubstr;
using testing::kJson;
using testing::service;
using ::testing::UnorderedElementsAre;

constexpr auto kDeadline = 10s;

std::string all_there(std::string_view target, std::string_view items = "") {
    const bool slices = target.find("endpointslices") != std::string_view::npos;
    const bool ranges = target.find("servicecidrs") != std::string_view::npos;
    const bool nodes = target.find("nodes") != std::string_view::npos;
    return std::string(items) +
           event("BOOKMARK", fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"5",)"
                                         R"("annotations":{{"k8s.io/initial-events-end":"true"}}}}}})",
                                         slices   ? "EndpointSlice"
                                         : ranges ? "ServiceCIDR"
                                         : nodes  ? "Node"
                                                  : "Service",
                                         slices   ? "discovery.k8s.io/v1"
                                         : ranges ? "networking.k8s.io/v1"
                                                  : "v1"));
}

// A source on its thread, and the server's side of it in the test's.
class Threaded {
    // Before the source: its thread speaks until it has ended.
    mutable std::mutex mutex_;
    std::vector<std::string> lines_;

  public:
    Threaded() {
        auto transport = std::make_unique<MemoryTransport>(MemoryTransport::Idle::kWait);
        server = transport.get();
        KubernetesSourceOptions options;
        options.node_name = "n1";
        options.reporter.instance = "kube-proxy-n1";
        source.emplace(
            std::move(options), std::move(transport),
            [this](log::Level /*level*/, const std::string& line) {
                const std::lock_guard lock(mutex_);
                lines_.push_back(line);
            },
            [](const HeldRemoval&) {});
    }
    // Waits until a request is open whose target has this in it.
    std::optional<MemoryTransport::Sent> open(std::string_view part) const {
        return wait_for([&]() -> std::optional<MemoryTransport::Sent> {
            for (const auto& sent : server->open_requests())
                if (sent.request.target.find(part) != std::string::npos) return sent;
            return std::nullopt;
        });
    }
    template <typename Function>
    auto wait_for(Function&& function) const -> decltype(function()) {
        const auto end = Clock::now() + kDeadline;
        while (Clock::now() < end) {
            if (auto found = function()) return found;
            std::this_thread::sleep_for(1ms);  // a poll of a condition with a deadline
        }
        ADD_FAILURE() << "it did not come within the deadline";
        return {};
    }
    void send_all(std::string_view part, std::string_view items = "") {
        const auto sent = open(part);
        ASSERT_TRUE(sent) << part;
        server->head(sent->id, 200, kJson);
        server->body(sent->id, all_there(sent->request.target, items));
    }
    std::vector<std::string> lines() const {
        const std::lock_guard lock(mutex_);
        return lines_;
    }

    MemoryTransport* server = nullptr;
    api::ChangeQueue queue;
    std::optional<KubernetesSource> source;
};

// All that the queue has until it is in sync.
std::set<std::string> take_until_synced(api::ChangeQueue& queue) {
    std::set<std::string> keys;
    const auto end = Clock::now() + kDeadline;
    while (Clock::now() < end) {
        const auto batch = queue.take(100ms);
        for (const auto& change : batch.changes) keys.insert(change.key.text());
        if (batch.synced) return keys;
    }
    ADD_FAILURE() << "not in sync within the deadline";
    return keys;
}

TEST(KubernetesSource, IsInSyncOnceServicesSlicesAndTheNodeAreListed) {
    Threaded threaded;
    ASSERT_TRUE(threaded.source->start(threaded.queue));
    threaded.send_all("/services?", added(service("web"), "3"));
    EXPECT_TRUE(threaded.wait_for([&] { return threaded.source->stats().services.synced; }));
    threaded.send_all("endpointslices");
    EXPECT_TRUE(threaded.wait_for([&] { return threaded.source->stats().endpoint_slices.synced; }));
    EXPECT_FALSE(threaded.queue.take(0ms).synced) << "the node is missing";
    // There need not be one yet.
    threaded.send_all("/nodes?");
    // Old cluster, or not allowed: does not matter.
    const auto ranges = threaded.open("servicecidrs");
    ASSERT_TRUE(ranges);
    threaded.server->answer(ranges->id, 404, "text/plain", "404 page not found\n");
    take_until_synced(threaded.queue);
    EXPECT_TRUE(threaded.wait_for([&] { return threaded.source->stats().nodes.synced; }));
    const auto stats = threaded.source->stats();
    EXPECT_FALSE(stats.service_cidrs.synced);
    EXPECT_EQ(stats.services.objects, 1U);
    EXPECT_GE(*stats.services.watch_age_seconds, 0);
}

TEST(KubernetesSource, HandsOnWhatFollows) {
    Threaded threaded;
    ASSERT_TRUE(threaded.source->start(threaded.queue));
    threaded.send_all("/nodes?");
    threaded.send_all("endpointslices");
    threaded.send_all("/services?", added(service("web"), "3"));
    EXPECT_THAT(take_until_synced(threaded.queue), UnorderedElementsAre("Service default/web"));
    threaded.server->body(threaded.open("/services?")->id, deleted(service("web"), "6"));
    const auto batch = threaded.queue.take(kDeadline);
    ASSERT_EQ(batch.changes.size(), 1U);
    EXPECT_FALSE(batch.changes[0].object);
}

TEST(KubernetesSource, AsksForItsNodeAlone) {
    Threaded threaded;
    ASSERT_TRUE(threaded.source->start(threaded.queue));
    const auto sent = threaded.open("/nodes?");
    ASSERT_TRUE(sent);
    EXPECT_THAT(sent->request.target, HasSubstr("fieldSelector=metadata.name%3Dn1&"));
}

TEST(KubernetesSource, StopsPromptlyWhateverItIsDoing) {
    for (const bool refused : {false, true}) {
        Threaded threaded;
        ASSERT_TRUE(threaded.source->start(threaded.queue));
        ASSERT_TRUE(threaded.open("servicecidrs"));
        if (refused) {
            threaded.server->break_all({TransportError::Kind::kRefused, "refused"});
            EXPECT_TRUE(threaded.wait_for([&] { return threaded.lines().size() == 4; }));
        }
        const auto began = Clock::now();
        threaded.source->stop();
        EXPECT_LT(Clock::now() - began, 200ms);
        EXPECT_TRUE(threaded.server->open_requests().empty()) << "gives up what is open";
        threaded.source->stop();
    }
}

TEST(KubernetesSource, CanBeStoppedBeforeItStarted) {
    Threaded threaded;
    threaded.source->stop();
}

TEST(KubernetesSource, PostsEvents) {
    Threaded threaded;
    ASSERT_TRUE(threaded.source->start(threaded.queue));
    Event event;
    event.reason = "Starting";
    event.action = "StartKubeProxy";
    event.regarding = {.kind = "Node", .name = "n1"};
    threaded.source->post(event);
    const auto sent = threaded.open("/events");
    ASSERT_TRUE(sent);
    EXPECT_EQ(sent->request.method, "POST");
    threaded.server->answer(sent->id, 201, kJson, "{}");
    EXPECT_TRUE(threaded.wait_for([&] { return threaded.source->stats().events.written == 1; }));
}

}  // namespace
}  // namespace ghostip::source::kubernetes

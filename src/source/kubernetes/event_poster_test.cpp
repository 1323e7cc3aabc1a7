#include "source/kubernetes/event_poster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/kubernetes/memory_transport.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

Event starting(std::string node = "n1") {
    Event event;
    event.reason = "Starting";
    event.action = "StartKubeProxy";
    event.regarding = {.kind = "Node", .name = std::move(node)};
    return event;
}

class Poster : public ::testing::Test {
  protected:
    Poster() {
        server_.on_idle([this](auto) { idle_ = true; });
    }
    void run() {
        do {
            poster_.tick();
            idle_ = false;
            server_.run_for(0ms);
        } while (!idle_ || poster_.due() <= now_);
    }
    void pass(std::chrono::milliseconds duration) {
        const auto end = now_ + duration;
        run();
        while (poster_.due() <= end) {
            const auto step = std::max(now_, poster_.due()) - now_;
            now_ += step;
            wall_ += std::chrono::duration_cast<WallTime::duration>(step);
            run();
        }
        wall_ += std::chrono::duration_cast<WallTime::duration>(end - now_);
        now_ = end;
        run();
    }
    MemoryTransport::Sent open() {
        run();
        const auto requests = server_.open_requests();
        EXPECT_EQ(requests.size(), 1U);
        return requests.empty() ? MemoryTransport::Sent{} : requests.front();
    }
    void answer(int code) {
        server_.answer(open().id, code, "application/json", "{}");
        run();
    }
    void refuse() {
        server_.end(open().id, TransportError::Kind::kRefused, "refused");
        run();
    }
    [[nodiscard]] bool quiet() {
        run();
        return server_.open_requests().empty();
    }

    MemoryTransport server_;
    Clock::time_point now_ = Clock::time_point(1h);
    WallTime wall_ = WallTime(1767323045s + 123456us);  // 2026-01-02 03:04:05
    std::vector<std::string> lines_;
    EventPoster poster_{{.instance = "kube-proxy-host"},
                        {[this] { return now_; }, [this] { return wall_; }, [] { return 0.5; }},
                        server_,
                        [this](log::Level, std::string line) { lines_.push_back(std::move(line)); }};

  private:
    bool idle_ = false;
};

TEST_F(Poster, WritesAsKubeProxyDoes) {
    poster_.post(starting());
    const auto sent = open();
    EXPECT_EQ(sent.request.method, "POST");
    EXPECT_EQ(sent.request.target, "/apis/events.k8s.io/v1/namespaces/default/events");
    EXPECT_EQ(sent.request.content_type, "application/json");
    EXPECT_EQ(sent.request.body,
              R"({"kind":"Event","apiVersion":"events.k8s.io/v1","metadata":{"name":"n1.1886caf223f1fc00",)"
              R"("namespace":"default"},"eventTime":"2026-01-02T03:04:05.123456Z","reportingController":"kube-proxy",)"
              R"("reportingInstance":"kube-proxy-host","action":"StartKubeProxy","reason":"Starting",)"
              R"("regarding":{"apiVersion":"v1","kind":"Node","name":"n1"},"type":"Normal"})");
    answer(201);
    EXPECT_TRUE(quiet());
    EXPECT_EQ(poster_.stats().written, 1U);
}

TEST_F(Poster, WritesIntoTheNamespaceOfTheObject) {
    Event event = starting();
    event.type = Event::Type::kWarning;
    event.regarding = {.kind = "Service", .namespace_ = "shop", .name = "web", .uid = "u-1"};
    event.note = "port \"80\"\n" + std::string(1013, 'x') + "ä" + "tail";
    poster_.post(event);
    const auto sent = open();
    EXPECT_EQ(sent.request.target, "/apis/events.k8s.io/v1/namespaces/shop/events");
    EXPECT_THAT(sent.request.body, HasSubstr(R"("regarding":{"apiVersion":"v1","kind":"Service","name":"web",)"
                                             R"("namespace":"shop","uid":"u-1"})"));
    EXPECT_THAT(sent.request.body, HasSubstr(R"("note":"port \"80\"\u000axxx)"));
    EXPECT_THAT(sent.request.body, HasSubstr(R"(xxx","type":"Warning")")) << "cut before a character of two bytes";
}

TEST_F(Poster, NamesThatWouldBeNoneAreUuids) {
    EXPECT_EQ(event_name({.name = "Not A Name"}, wall_, 0x0123456789abcdef, 0xffffffffffffffff),
              "01234567-89ab-4def-bfff-ffffffffffff");
    EXPECT_EQ(event_name({.name = "n1.example"}, WallTime(1s), 0, 0), "n1.example.3b9aca00");
    EXPECT_THAT(event_name({.name = "a..b"}, WallTime(1s), 0, 0), HasSubstr("00000000-0000-4000-8000-"));
    EXPECT_THAT(event_name({.name = "a-"}, WallTime(1s), 0, 0), HasSubstr("00000000-0000-4000-8000-"));
}

TEST_F(Poster, TriesTwelveTimesWhereNobodyAnswers) {
    poster_.post(starting());
    for (int tries = 0; tries < 12; ++tries) {
        refuse();
        EXPECT_TRUE(quiet());
        if (tries < 11) {
            pass(11s);
            EXPECT_TRUE(quiet()) << "10 s and half of the jitter";
            pass(250ms);
        }
    }
    pass(1min);
    EXPECT_TRUE(quiet());
    EXPECT_EQ(poster_.stats().dropped, 1U);
    EXPECT_EQ(lines_.size(), 1U);
}

TEST_F(Poster, DoesNotRepeatWhatIsRejected) {
    for (const int code : {400, 403, 404, 500}) {
        poster_.post(starting(fmt::format("n{}", code)));
        answer(code);
        EXPECT_TRUE(quiet());
    }
    EXPECT_EQ(poster_.stats().rejected, 4U);
    EXPECT_EQ(poster_.stats().written, 0U);
}

TEST_F(Poster, WaitsAsLongAsItIsTold) {
    poster_.post(starting());
    const auto sent = open();
    server_.head(sent.id, {429, "text/plain", 30s, {}});
    server_.end(sent.id);
    pass(29s);
    EXPECT_TRUE(quiet());
    pass(1s);
    answer(201);
    EXPECT_EQ(poster_.stats().written, 1U);
}

TEST_F(Poster, ATryOfItsOwnThatCameThroughIsEnough) {
    poster_.post(starting());
    refuse();
    pass(13s);
    answer(409);
    EXPECT_EQ(poster_.stats().written, 1U);
}

TEST_F(Poster, RepeatsBecomeASeries) {
    poster_.post(starting());
    answer(201);
    pass(1min);
    poster_.post(starting());
    const auto sent = open();
    EXPECT_EQ(sent.request.method, "PATCH");
    EXPECT_EQ(sent.request.target, "/apis/events.k8s.io/v1/namespaces/default/events/n1.1886caf223f1fc00");
    EXPECT_EQ(sent.request.content_type, "application/strategic-merge-patch+json");
    EXPECT_EQ(sent.request.body, R"({"series":{"count":2,"lastObservedTime":"2026-01-02T03:05:05.123456Z"}})");
    answer(200);
    // Later ones are counted here, and written when the series is over.
    for (int i = 0; i < 5; ++i) {
        poster_.post(starting());
        pass(1min);
        EXPECT_TRUE(quiet());
    }
    pass(12min);
    EXPECT_THAT(open().request.body, HasSubstr(R"("count":7)"));
    answer(200);
    // Then the next is an event of its own.
    pass(20min);
    EXPECT_TRUE(quiet());
    poster_.post(starting());
    EXPECT_EQ(open().request.method, "POST");
}

TEST_F(Poster, ALongSeriesIsWrittenNowAndThen) {
    poster_.post(starting());
    answer(201);
    int patches = 0;
    for (int minute = 0; minute < 65; ++minute) {
        poster_.post(starting());
        if (!quiet()) {
            ++patches;
            answer(200);
        }
        pass(1min);
        if (!quiet()) {
            ++patches;
            answer(200);
        }
    }
    EXPECT_EQ(patches, 3) << "the second occurrence, then every half hour";
}

TEST_F(Poster, ASeriesWhoseEventIsGoneStartsANewOne) {
    poster_.post(starting());
    answer(201);
    poster_.post(starting());
    answer(404);
    const auto sent = open();
    EXPECT_EQ(sent.request.method, "POST");
    EXPECT_THAT(sent.request.body, HasSubstr(R"("series":{"count":2,)"));
    answer(201);
    EXPECT_TRUE(quiet());
}

TEST_F(Poster, DropsWhatIsTooMuch) {
    for (int i = 0; i < 1500; ++i) poster_.post(starting(fmt::format("n{}", i)));
    EXPECT_EQ(poster_.stats().dropped, 500U);
    run();
    for (int i = 0; i < 10; ++i) poster_.post(starting(fmt::format("m{}", i)));
    EXPECT_EQ(poster_.stats().dropped, 510U) << "what is taken in still waits";
    answer(201);
    poster_.post(starting("last"));
    EXPECT_EQ(poster_.stats().dropped, 510U);
}

}  // namespace
}  // namespace ghostip::source::kubernetes

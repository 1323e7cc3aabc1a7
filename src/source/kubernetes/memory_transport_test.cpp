#include "source/kubernetes/memory_transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace ghostip::source::kubernetes {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;

// Writes down what it is told.
class Log : public ResponseHandler {
  public:
    void on_head(const ResponseHead& head) override { lines.push_back(fmt_head(head)); }
    void on_body(std::string_view bytes) override { lines.push_back("body " + std::string(bytes)); }
    void on_end(const std::optional<TransportError>& error) override {
        lines.push_back(error ? "error " + error->message : "end");
        if (then) then();
    }

    std::vector<std::string> lines;
    std::function<void()> then;

  private:
    static std::string fmt_head(const ResponseHead& head) {
        return "head " + std::to_string(head.status) + " " + head.content_type;
    }
};

TEST(MemoryTransport, DeliversWhatWasScriptedInOrder) {
    MemoryTransport server;
    Log list;
    Log watch;
    const RequestId first = server.send({.target = "/list", .accept = "*/*"}, list);
    const RequestId second = server.send({.target = "/watch", .accept = "*/*"}, watch);
    EXPECT_THAT(list.lines, IsEmpty());
    ASSERT_EQ(server.open_requests().size(), 2U);
    EXPECT_EQ(server.open_requests()[0].request.target, "/list");

    server.head(second, 200, "x");
    server.answer(first, 404, "y", "no");
    server.run_for(milliseconds(0));
    EXPECT_THAT(list.lines, ElementsAre("head 404 y", "body no", "end"));
    EXPECT_THAT(watch.lines, ElementsAre("head 200 x"));
    ASSERT_EQ(server.open_requests().size(), 1U);
    EXPECT_EQ(server.open_requests()[0].id, second);

    server.break_all({TransportError::Kind::kBroken, "gone"});
    server.body(second, "behind the end");
    server.run_for(milliseconds(0));
    EXPECT_THAT(watch.lines, ElementsAre("head 200 x", "error gone"));
    EXPECT_THAT(server.open_requests(), IsEmpty());
    EXPECT_EQ(server.sent_count(), 2U);
}

TEST(MemoryTransport, NothingComesAfterCancel) {
    MemoryTransport server;
    Log log;
    const RequestId id = server.send({.target = "/", .accept = "*/*"}, log);
    server.answer(id, 200, "x", "y");
    server.cancel(id);
    server.run_for(milliseconds(0));
    EXPECT_THAT(log.lines, IsEmpty());
    server.cancel(id);  // again: nothing
}

TEST(MemoryTransport, WhatAHandlerCausesComesWithTheNextRun) {
    MemoryTransport server;
    server.on_request([&](RequestId id, const Request&) { server.answer(id, 200, "x", "y"); });
    Log second;
    Log first;
    first.then = [&] { std::ignore = server.send({.target = "/2", .accept = "*/*"}, second); };
    std::ignore = server.send({.target = "/1", .accept = "*/*"}, first);
    server.run_for(milliseconds(0));
    EXPECT_EQ(first.lines.size(), 3U);
    EXPECT_THAT(second.lines, IsEmpty());
    server.run_for(milliseconds(0));
    EXPECT_EQ(second.lines.size(), 3U);
}

TEST(MemoryTransport, TellsAboutIdleTime) {
    MemoryTransport server;
    milliseconds waited{0};
    server.on_idle([&](milliseconds limit) { waited += limit; });
    server.run_for(milliseconds(700));
    EXPECT_EQ(waited, milliseconds(700));
    server.wake();
    server.run_for(milliseconds(700));
    EXPECT_EQ(waited, milliseconds(700));
}

TEST(MemoryTransport, WaitsForAnotherThread) {
    MemoryTransport server(MemoryTransport::Idle::kWait);
    Log log;
    const RequestId id = server.send({.target = "/", .accept = "*/*"}, log);
    std::thread other([&] { server.answer(id, 200, "x", "y"); });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (log.lines.size() < 3 && std::chrono::steady_clock::now() < deadline) server.run_for(milliseconds(20'000));
    other.join();
    EXPECT_EQ(log.lines.size(), 3U);
    std::thread waker([&] { server.wake(); });
    server.run_for(milliseconds(20'000));
    EXPECT_LT(std::chrono::steady_clock::now(), deadline);
    waker.join();
}

}  // namespace
}  // namespace ghostip::source::kubernetes

// When the old process stops to write.
#include <cerrno>

#include "relay/handover_testing.h"

namespace ghostip::relay::testing {
namespace {

TEST_F(HandoverSocket, ItGoesOnUntilTheSuccessorWrites) {
    serve();
    const auto handover = ask();
    ASSERT_TRUE(handover && *handover) << handover.error().message;
    EXPECT_EQ(writes_, 0) << "the successor waits for its first list";
    const auto told = (*handover)->about_to_write(kLongest);
    ASSERT_TRUE(told) << told.error().message;
    EXPECT_EQ(writes_, 1);
    EXPECT_EQ(taken_, 0);
}

TEST_F(HandoverSocket, OneThatNeverSaysThatItWritesIsNotWrittenAgainst) {
    let_go_ = [this](const auto&) {
        EXPECT_EQ(writes_, 1) << "both serve";
        return Clients{};
    };
    serve();
    auto handover = ask();
    ASSERT_TRUE(handover && *handover) << handover.error().message;
    EXPECT_TRUE((*handover)->done({"web"}));
    EXPECT_TRUE(eventually([&] { return taken_ == 1; }));
    EXPECT_EQ(writes_, 1);
}

TEST_F(HandoverSocket, ForOneThatCannotSayItStopsAtOnce) {
    serve();
    const Fd peer = dial();
    ASSERT_TRUE(wire::send(peer.get(), {.kind = Kind::kAsk}));
    EXPECT_EQ(answer(peer), Kind::kOffer);
    EXPECT_EQ(writes_, 1);
}

TEST_F(HandoverSocket, ItIsToldOnce) {
    serve();
    auto handover = ask();
    ASSERT_TRUE(handover && *handover) << handover.error().message;
    EXPECT_TRUE((*handover)->about_to_write(kLongest));
    const auto again = (*handover)->about_to_write(kLongest);
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, ECANCELED) << again.error().message;
    EXPECT_TRUE(eventually([&] { return failed_ == 1; }));
    expect_alive();
}

TEST_F(HandoverSocket, ADeadPredecessorIsToldOfNoWrites) {
    serve();
    auto handover = ask();
    ASSERT_TRUE(handover && *handover) << handover.error().message;
    server_.reset();
    const auto told = (*handover)->about_to_write(kLongest);
    ASSERT_FALSE(told);
    EXPECT_EQ(told.error().code, ECONNRESET) << told.error().message;
}

TEST_F(HandoverSocket, ASyncWithoutEndIsGivenUp) {
    constexpr milliseconds kEach{400};
    serve({.step = kLongest, .taken = kEach});
    auto handover = ask();
    ASSERT_TRUE(handover && *handover) << handover.error().message;
    EXPECT_TRUE((*handover)->about_to_write(kLongest));
    EXPECT_TRUE(eventually([&] { return failed_ == 1; })) << "its sync has no end";
    const auto done = (*handover)->done();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, ECANCELED) << done.error().message;
}

}  // namespace
}  // namespace ghostip::relay::testing

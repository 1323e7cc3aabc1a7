#include "dataplane/iptables/canary.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "base/fd.h"
#include "dataplane/iptables/dataplane_testing.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using namespace std::chrono_literals;

// A watch of one family whose canaries are made by hand.
struct Watched {
    explicit Watched(CanaryTimes times) {
        std::vector<CanaryWatch::Watched> list;
        list.push_back({std::make_unique<Borrowed>(twin), made, 0});
        watch = std::make_unique<CanaryWatch>(std::move(list), times);
    }
    void make(std::initializer_list<const char*> tables = {"mangle", "nat", "filter"}) {
        for (const char* table : tables)
            static_cast<void>(twin.restore(fmt::format("*{}\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n", table)));
        ++*made;
    }
    void remove(const char* table) { EXPECT_TRUE(twin.delete_chain(table, "KUBE-PROXY-CANARY")); }
    void stop() {
        const std::uint64_t one = 1;
        EXPECT_EQ(::write(stop_fd.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    }
    std::future<std::size_t> waiting() {
        return std::async(std::launch::async, [this] {
            const auto writes = watch->wait(stop_fd.get());
            return writes ? writes->size() : 99U;
        });
    }

    MemoryIptables twin{Variant::kNft, net::Family::kIpv4};
    CanaryCount made = std::make_shared<std::atomic<std::uint64_t>>(0);
    Fd stop_fd{::eventfd(0, EFD_CLOEXEC)};
    std::unique_ptr<CanaryWatch> watch;
};

constexpr auto kSoon = 10s;    // that must happen
constexpr auto kLong = 100ms;  // that must not

TEST(CanaryWatch, TellsOnceThatAllIsGone) {
    Watched w({1ms, 5s, 1ms});
    w.make();
    auto first = w.waiting();
    EXPECT_EQ(first.wait_for(kLong), std::future_status::timeout) << "all is well";
    w.twin.flush_all();
    ASSERT_EQ(first.wait_for(kSoon), std::future_status::ready);
    EXPECT_EQ(first.get(), 1U);
    auto second = w.waiting();
    EXPECT_EQ(second.wait_for(kLong), std::future_status::timeout) << "was told";
    w.make();
    EXPECT_EQ(second.wait_for(kLong), std::future_status::timeout) << "is there again";
    w.twin.flush_all();
    ASSERT_EQ(second.wait_for(kSoon), std::future_status::ready);
    EXPECT_EQ(second.get(), 1U);
}

TEST(CanaryWatch, NothingBeforeItWasMade) {
    Watched w({1ms, 5s, 1ms});
    auto waiting = w.waiting();
    EXPECT_EQ(waiting.wait_for(kLong), std::future_status::timeout);
    w.stop();
    ASSERT_EQ(waiting.wait_for(kSoon), std::future_status::ready);
    EXPECT_EQ(waiting.get(), 0U);
}

TEST(CanaryWatch, LetsAFlushFinish) {
    Watched w({1ms, 60s, 1ms});
    w.make();
    w.remove("mangle");
    w.remove("nat");
    auto waiting = w.waiting();
    EXPECT_EQ(waiting.wait_for(kLong), std::future_status::timeout) << "filter is still there";
    w.remove("filter");
    ASSERT_EQ(waiting.wait_for(kSoon), std::future_status::ready);
    EXPECT_EQ(waiting.get(), 1U);
}

TEST(CanaryWatch, ButNotForEver) {
    Watched w({1ms, 20ms, 1ms});
    w.make();
    w.remove("mangle");
    auto waiting = w.waiting();
    ASSERT_EQ(waiting.wait_for(kSoon), std::future_status::ready);
    EXPECT_EQ(waiting.get(), 1U);
}

TEST(CanaryWatch, OnlyMangleIsAsked) {
    Watched w({1ms, 5s, 1ms});
    w.make();
    w.remove("nat");
    w.remove("filter");
    auto waiting = w.waiting();
    EXPECT_EQ(waiting.wait_for(kLong), std::future_status::timeout);
    w.stop();
    EXPECT_EQ(waiting.get(), 0U);
}

// That it cannot be told is no loss.
TEST(CanaryWatch, HeldLock) {
    Watched w({1ms, 5s, 1ms});
    w.make();
    w.twin.flush_all();
    w.twin.hold_lock(UINT64_MAX);
    auto waiting = w.waiting();
    EXPECT_EQ(waiting.wait_for(kLong), std::future_status::timeout);
    w.twin.hold_lock(0);
    ASSERT_EQ(waiting.wait_for(kSoon), std::future_status::ready);
    EXPECT_EQ(waiting.get(), 1U);
}

TEST(CanaryWatch, Pause) {
    Watched w({1ms, 5s, 1ms});
    w.make();
    ASSERT_TRUE(w.watch->pause().has_value());
    auto waiting = w.waiting();
    w.twin.flush_all();
    EXPECT_EQ(waiting.wait_for(kLong), std::future_status::timeout);
    EXPECT_TRUE(w.watch->resume(3).value());
    ASSERT_EQ(waiting.wait_for(kSoon), std::future_status::ready);
    EXPECT_EQ(waiting.get(), 1U);
}

}  // namespace
}  // namespace ghostip::dataplane::iptables

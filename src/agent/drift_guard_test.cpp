#include "agent/drift_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;
using dataplane::ForeignWrite;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using Time = DriftGuard::Time;

constexpr Time kStart = Time{} + 1h;

ForeignWrite deleted(const std::string& set, int last) {
    return {net::Family::kIpv4, 42, "nft", fmt::format("1 element deleted from {} (10.0.0.{})", set, last),
            std::make_shared<const int>(last)};
}

std::vector<std::string> texts(DriftGuard& guard) {
    std::vector<std::string> all;
    for (auto& line : guard.take_lines()) all.push_back(std::move(line.text));
    return all;
}

// One write and its repair, as soon as it may be; returns when that was.
Time one_round(DriftGuard& guard, Time now, std::vector<std::string>* said = nullptr) {
    guard.wrote(deleted("cluster-ips", 1), now);
    const auto due = guard.due();
    EXPECT_TRUE(due && *due >= now);
    EXPECT_THAT(guard.take(*due - 1ms), IsEmpty()) << "not before";
    EXPECT_THAT(guard.take(*due), SizeIs(1));
    guard.repaired(1, {"cluster-ips lacks 10.0.0.1"}, *due);
    auto lines = texts(guard);
    if (said != nullptr) *said = std::move(lines);
    return *due;
}

TEST(DriftGuard, NothingIsDueWithoutAWrite) {
    DriftGuard guard(net::Family::kIpv4);
    EXPECT_FALSE(guard.due());
    EXPECT_THAT(guard.take(kStart), IsEmpty());
    guard.tick(kStart + 24h);
    EXPECT_THAT(texts(guard), IsEmpty());
}

TEST(DriftGuard, ABurstIsOneRepair) {
    DriftGuard guard(net::Family::kIpv6);
    for (int i = 0; i < 20; ++i) guard.wrote(deleted("cluster-ips", i), kStart + i * 1ms);
    ASSERT_EQ(guard.due(), kStart + 30ms) << "later writes do not put it off";
    EXPECT_THAT(guard.take(kStart + 30ms), SizeIs(20));
    EXPECT_THAT(guard.take(kStart + 31ms), IsEmpty()) << "taken once";
    EXPECT_THAT(texts(guard), IsEmpty()) << "said when done";
    guard.repaired(20, {"a", "b"}, kStart + 31ms);
    EXPECT_THAT(texts(guard),
                ElementsAre("IPv6: 1 element deleted from cluster-ips (10.0.0.0), 1 element deleted from cluster-ips "
                            "(10.0.0.1), 1 element deleted from cluster-ips (10.0.0.2), and 17 more changes by nft "
                            "(process 42), 20 times: repaired 20 differences (a; b; …)"));
    EXPECT_EQ(guard.writes(), 20U);
    EXPECT_EQ(guard.repairs(), 1U);
    EXPECT_FALSE(guard.alarm());
}

TEST(DriftGuard, SaysWhoAndHowItEnded) {
    struct Case {
        const char* name;
        std::uint32_t process_id;
        std::string process_name;
        std::optional<std::uint64_t> objects;  // none: it failed
        const char* want;
    };
    const std::vector<Case> cases{
        {"known", 7, "firewalld", 1, "by firewalld (process 7): repaired 1 difference"},
        {"unknown", 0, "", 2, "by an unknown process: repaired 2 differences"},
        {"harmless", 7, "nft", 0, "by nft (process 7): nothing differs"},
        {"failed", 7, "nft", std::nullopt, "by nft (process 7): cannot be repaired: no memory"},
    };
    for (const auto& c : cases) {
        DriftGuard guard(net::Family::kIpv4);
        auto write = deleted("a", 1);
        write.process_id = c.process_id;
        write.process_name = c.process_name;
        guard.wrote(write, kStart);
        ASSERT_THAT(guard.take(kStart + 1s), SizeIs(1)) << c.name;
        if (c.objects)
            guard.repaired(*c.objects, {}, kStart + 1s);
        else
            guard.failed("no memory");
        EXPECT_THAT(texts(guard), ElementsAre(HasSubstr(c.want))) << c.name;
    }
}

TEST(DriftGuard, PromptWhileItIsRare) {
    DriftGuard guard(net::Family::kIpv4);
    Time now = kStart;
    for (int i = 0; i < 200; ++i) {
        const Time repaired = one_round(guard, now);
        EXPECT_EQ(repaired, now + 30ms) << i;
        now += 15s;  // four in a minute
    }
    EXPECT_FALSE(guard.alarm());
}

TEST(DriftGuard, AFightMeetsPausesAndAnAlarm) {
    DriftGuard guard(net::Family::kIpv4);
    Time now = kStart;
    for (int i = 0; i < 5; ++i) {
        now = one_round(guard, now);
        EXPECT_FALSE(guard.alarm()) << i;
    }
    std::vector<std::string> said;
    now = one_round(guard, now, &said);
    EXPECT_TRUE(guard.alarm());
    EXPECT_THAT(said, ElementsAre(AllOf(HasSubstr("somebody keeps changing our rules: 6 repairs within 60 s"),
                                        HasSubstr("up to 300 s, until nobody has written for 600 s")),
                                  HasSubstr("the next repair not before 1 s from now")));
    // Each write comes at once after a repair; the pauses double up to five minutes.
    for (const auto pause : {1s, 2s, 4s, 8s, 16s, 32s, 64s, 128s, 256s, 300s, 300s}) {
        const Time repaired = one_round(guard, now, &said);
        EXPECT_EQ(repaired, now + pause);
        EXPECT_THAT(said, SizeIs(1)) << "one line a repair";
        now = repaired;
    }
}

TEST(DriftGuard, ManyWritesInAPauseAreOneLine) {
    DriftGuard guard(net::Family::kIpv4);
    Time now = kStart;
    for (int i = 0; i < 12; ++i) now = one_round(guard, now);
    ASSERT_TRUE(guard.alarm());
    for (int i = 0; i < 1000; ++i) {
        auto write = deleted("cluster-ips", i);
        write.process_id = static_cast<std::uint32_t>(1000 + i);  // a loop in a shell
        guard.wrote(std::move(write), now + i * 1ms);
    }
    EXPECT_THAT(texts(guard), IsEmpty());
    const auto due = guard.due();
    ASSERT_TRUE(due);
    EXPECT_GT(*due, now + 1s);
    const auto taken = guard.take(*due);
    EXPECT_LE(taken.size(), 101U) << "more is not worth remembering";
    EXPECT_EQ(taken.front().where, nullptr) << "look everywhere";
    guard.repaired(1000, {}, *due);
    const auto said = texts(guard);
    ASSERT_THAT(said, SizeIs(1));
    EXPECT_THAT(said[0], AllOf(HasSubstr("more than 100 changes"), HasSubstr("by others, 900 times; nft"),
                               HasSubstr("96 more")));
}

TEST(DriftGuard, CalmForgetsAll) {
    struct Case {
        const char* name;
        Time::duration silence;
        bool alarm_after;
    };
    for (const auto& c : {Case{"too short", 10min - 1s, true}, Case{"long enough", 10min, false}}) {
        DriftGuard guard(net::Family::kIpv4);
        Time now = kStart;
        Time last_write = now;
        for (int i = 0; i < 8; ++i) {
            last_write = now;
            now = one_round(guard, now);
        }
        ASSERT_TRUE(guard.alarm()) << c.name;
        EXPECT_EQ(guard.due(), last_write + 10min) << c.name << ": the caller need not poll";
        guard.tick(last_write + c.silence);
        EXPECT_EQ(guard.alarm(), c.alarm_after) << c.name;
        const auto said = texts(guard);
        if (c.alarm_after) {
            EXPECT_THAT(said, IsEmpty()) << c.name;
            continue;
        }
        EXPECT_THAT(said, ElementsAre(HasSubstr("repairs are prompt again"))) << c.name;
        EXPECT_FALSE(guard.due()) << c.name;
        now = last_write + c.silence;
        EXPECT_EQ(one_round(guard, now), now + 30ms) << c.name << ": prompt again";
    }
}

// A write after the calm that nobody ticked for is prompt, too.
TEST(DriftGuard, CalmIsNoticedByTheNextWrite) {
    DriftGuard guard(net::Family::kIpv4);
    Time now = kStart;
    for (int i = 0; i < 8; ++i) now = one_round(guard, now);
    now += 11min;
    EXPECT_EQ(one_round(guard, now), now + 30ms);
    EXPECT_FALSE(guard.alarm());
}

// A write that comes while the repair is under way is not forgotten, and waits as long as the alarm says.
TEST(DriftGuard, WritesDuringARepair) {
    DriftGuard guard(net::Family::kIpv4);
    Time now = kStart;
    for (int i = 0; i < 5; ++i) now = one_round(guard, now);
    guard.wrote(deleted("a", 1), now);
    ASSERT_THAT(guard.take(now + 30ms), SizeIs(1));
    guard.wrote(deleted("a", 2), now + 40ms);
    guard.repaired(1, {}, now + 50ms);
    EXPECT_TRUE(guard.alarm());
    EXPECT_EQ(guard.due(), now + 50ms + 1s);
}

}  // namespace
}  // namespace ghostip::agent

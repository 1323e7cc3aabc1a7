#include "api/codec/rfc3339.h"

#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>

namespace ghostip::api::codec {
namespace {

using namespace std::chrono_literals;

constexpr auto kSecond = std::chrono::sys_days(std::chrono::year(2026) / 1 / 2) + 3h + 4min + 5s;

TEST(Rfc3339, IsReadWithAnyNumberOfDigitsAndAnyOffset) {
    EXPECT_EQ(parse_rfc3339("2026-01-02T03:04:05Z"), kSecond);
    EXPECT_EQ(parse_rfc3339("2026-01-02T03:04:05.5Z"), kSecond + 500ms);
    EXPECT_EQ(parse_rfc3339("2026-01-02T03:04:05.000000001Z"), kSecond + 1ns);
    EXPECT_EQ(parse_rfc3339("2026-01-02T03:04:05.1234567899Z"), kSecond + 123456789ns);
    EXPECT_EQ(parse_rfc3339("2026-01-02T05:34:05+02:30"), kSecond);
    EXPECT_EQ(parse_rfc3339("2026-01-01T22:04:05-05:00"), kSecond);
    EXPECT_EQ(parse_rfc3339("2024-02-29T00:00:00Z"), std::chrono::sys_days(std::chrono::year(2024) / 2 / 29));
}

TEST(Rfc3339, RefusesWhatIsNoTime) {
    for (const char* text : {"",
                             "now",
                             "2026-01-02",
                             "2026-01-02T03:04:05",
                             "2026-01-02 03:04:05Z",
                             "2026-01-02t03:04:05Z",
                             "2026-01-02T03:04:05.Z",
                             "2026-01-02T03:04:05z",
                             "2026-13-02T03:04:05Z",
                             "2026-00-02T03:04:05Z",
                             "2026-02-29T03:04:05Z",
                             "2026-01-02T24:04:05Z",
                             "2026-01-02T03:60:05Z",
                             "2026-01-02T03:04:60Z",
                             "2026-01-02T03:04:05+0200",
                             "2026-01-02T03:04:05+24:00",
                             "2026-01-02T03:04:05Z ",
                             "26-01-02T03:04:05Z",
                             "2026-01-02T03:04:05Z\n",
                             "1677-12-31T00:00:00Z",
                             "2262-01-01T00:00:00Z",
                             "-026-01-02T03:04:05Z"})
        EXPECT_EQ(parse_rfc3339(text), std::nullopt) << text;
}

TEST(Rfc3339, DropsZerosAtTheEnd) {
    EXPECT_EQ(rfc3339_text(kSecond), "2026-01-02T03:04:05Z");
    EXPECT_EQ(rfc3339_text(kSecond + 120ms), "2026-01-02T03:04:05.12Z");
    EXPECT_EQ(rfc3339_text(std::chrono::system_clock::time_point(-1ns)), "1969-12-31T23:59:59.999999999Z");
}

RC_GTEST_PROP(Rfc3339, WrittenTimesAreReadBack, ()) {
    const auto seconds = *rc::gen::inRange<std::int64_t>(-9'000'000'000, 9'000'000'000);
    const auto nanos = *rc::gen::inRange<std::int64_t>(0, 1'000'000'000);
    const std::chrono::system_clock::time_point time(std::chrono::seconds(seconds) + std::chrono::nanoseconds(nanos));
    RC_ASSERT(parse_rfc3339(rfc3339_text(time)) == time);
}

}  // namespace
}  // namespace ghostip::api::codec

#include "agent/config/scalars.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace ghostip::agent::config {
namespace {

using namespace std::chrono_literals;

struct DurationCase {
    const char* text;
    std::int64_t nanoseconds;
    const char* printed;
};

TEST(Durations, AreReadAndPrintedAsGoDoes) {
    const std::vector<DurationCase> cases{
        {"0", 0, "0s"},
        {"0s", 0, "0s"},
        {"-0", 0, "0s"},
        {"1ns", 1, "1ns"},
        {"1.5us", 1500, "1.5\xc2\xb5s"},
        {"2\xc2\xb5s", 2000, "2\xc2\xb5s"},
        {"2\xce\xbcs", 2000, "2\xc2\xb5s"},
        {"300ms", 300'000'000, "300ms"},
        {".5s", 500'000'000, "500ms"},
        {"1.s", 1'000'000'000, "1s"},
        {"30s", 30'000'000'000, "30s"},
        {"+90s", 90'000'000'000, "1m30s"},
        {"1h5m", 3'900'000'000'000, "1h5m0s"},
        {"24h", 86'400'000'000'000, "24h0m0s"},
        {"1h0.001s", 3'600'001'000'000, "1h0m0.001s"},
        {"-1.5h", -5'400'000'000'000, "-1h30m0s"},
        {"9223372036854775807ns", INT64_MAX, "2562047h47m16.854775807s"},
        {"-9223372036854775808ns", INT64_MIN, "-2562047h47m16.854775808s"},
    };
    for (const auto& c : cases) {
        const auto parsed = parse_duration(c.text);
        ASSERT_TRUE(parsed) << c.text << ": " << parsed.error().message;
        EXPECT_EQ(parsed->count(), c.nanoseconds) << c.text;
        EXPECT_EQ(duration_text(*parsed), c.printed) << c.text;
    }
}

TEST(Durations, ThatAreNoneAreRefusedInGosWords) {
    const std::vector<std::pair<const char*, const char*>> cases{
        {"", "time: invalid duration \"\""},
        {"-", "time: invalid duration \"-\""},
        {"3", "time: missing unit in duration \"3\""},
        {"s", "time: invalid duration \"s\""},
        {".s", "time: invalid duration \".s\""},
        {"1d", "time: unknown unit \"d\" in duration \"1d\""},
        {"1 s", "time: unknown unit \" s\" in duration \"1 s\""},
        {"9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""},
        {"99999999999999999999h", "time: invalid duration \"99999999999999999999h\""},
        {"2562048h", "time: invalid duration \"2562048h\""},
    };
    for (const auto& [text, message] : cases) {
        const auto parsed = parse_duration(text);
        ASSERT_FALSE(parsed) << text;
        EXPECT_EQ(parsed.error().message, message);
    }
}

RC_GTEST_PROP(Durations, WhatIsPrintedIsReadBack, (std::int64_t nanoseconds)) {
    const auto parsed = parse_duration(duration_text(Duration(nanoseconds)));
    RC_ASSERT(parsed.has_value());
    // Fractions go through a double, as in Go: exact below some days, near beyond.
    const auto difference = std::chrono::abs(*parsed - std::max(Duration(nanoseconds), Duration(INT64_MIN + 1)));
    RC_ASSERT(difference <= Duration(1));
}

TEST(Numbers, KeepToTheirRange) {
    EXPECT_EQ(*parse_integer("0x1f", -100, 100), 31);
    EXPECT_EQ(*parse_integer("-7", -100, 100), -7);
    EXPECT_EQ(parse_integer("101", -100, 100).error().message, "strconv.ParseInt: parsing \"101\": value out of range");
    EXPECT_EQ(parse_integer("1x", -100, 100).error().message, "strconv.ParseInt: parsing \"1x\": invalid syntax");
    EXPECT_EQ(parse_integer("-1", 0, 100).error().message, "strconv.ParseUint: parsing \"-1\": invalid syntax");
    EXPECT_FALSE(parse_integer("99999999999999999999", INT64_MIN, INT64_MAX));
    EXPECT_EQ(float_text(*parse_float("2.5")), "2.5");
    EXPECT_EQ(float_text(5), "5");
    EXPECT_FALSE(parse_float("nan"));
    EXPECT_FALSE(parse_float("1e99"));
}

TEST(Quantities, ArePrintedInTheirLargestUnit) {
    const std::vector<std::tuple<const char*, std::int64_t, const char*>> cases{
        {"0", 0, "0"},        {"512", 512, "512"},          {"1000", 1000, "1k"},
        {"2Ki", 2048, "2Ki"}, {"1.5Mi", 1572864, "1536Ki"}, {"1024Ki", 1048576, "1Mi"},
    };
    for (const auto& [text, value, printed] : cases) {
        const auto parsed = parse_quantity(text);
        ASSERT_TRUE(parsed) << text;
        EXPECT_EQ(parsed->value, value) << text;
        EXPECT_EQ(parsed->text, printed) << text;
    }
    for (const char* text : {"", ".", "Ki", "1X", "-1", "1 k", "99999999999E"})
        EXPECT_FALSE(parse_quantity(text)) << text;
}

TEST(Texts, AreQuotedAndTakenApart) {
    EXPECT_EQ(quoted("a\"b\\\n\x01"), R"("a\"b\\\n\x01")");
    EXPECT_THAT(split("a,,b", ','), ::testing::ElementsAre("a", "", "b"));
    EXPECT_THAT(split("", ','), ::testing::ElementsAre(""));
}

}  // namespace
}  // namespace ghostip::agent::config

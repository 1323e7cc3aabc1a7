#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/log_line.h"
#include "base/quoted.h"

namespace ghostip::log {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

Line line(std::string_view message, Level level = Level::kInfo, std::span<const Field> fields = {}) {
    using std::chrono::microseconds;
    // 2026-01-02 03:04:05.678901 UTC
    const std::chrono::system_clock::time_point time(microseconds(1767323045678901));
    return {level, 0, {"/somewhere/src/agent/agent.cpp", 42}, message, fields, time, 4711};
}

// What the process writes to one of its streams while this lives.
class Captured {
  public:
    explicit Captured(int stream) : stream_(stream), before_(::dup(stream)) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe(ends.data()), 0);
        reader_ = Fd(ends[0]);
        const Fd writer(ends[1]);
        ::dup2(writer.get(), stream_);
    }
    ~Captured() { restore(); }
    Captured(const Captured&) = delete;
    Captured& operator=(const Captured&) = delete;
    std::string text() {
        restore();
        std::string all;
        std::array<char, 4096> buffer{};
        for (;;) {
            const auto got = ::read(reader_.get(), buffer.data(), buffer.size());
            if (got <= 0) return all;
            all.append(buffer.data(), static_cast<std::size_t>(got));
        }
    }

  private:
    void restore() {
        if (before_) ::dup2(before_.get(), stream_);
        before_.reset();
    }
    int stream_;
    Fd before_;
    Fd reader_;
};

class Log : public ::testing::Test {
  protected:
    void TearDown() override {
        configure(Format::kPlain, 0);
        EXPECT_TRUE(set_vmodule(""));
        set_split_stream(false);
    }
};

TEST(LogLine, PlainIsAsItAlwaysWas) {
    EXPECT_EQ(format_line(Format::kPlain, line("a \"b\" \\ ü")), "2026-01-02T03:04:05.678Z INFO    a \"b\" \\ ü\n");
    EXPECT_EQ(format_line(Format::kPlain, line("x", Level::kWarning)), "2026-01-02T03:04:05.678Z WARNING x\n");
    EXPECT_EQ(format_line(Format::kPlain, line("a\nERROR \\forged")),
              "2026-01-02T03:04:05.678Z INFO    a\\nERROR \\forged\n");
}

TEST(LogLine, KlogText) {
    const std::vector<Field> fields{{"err", "no \"such\" thing\n"}, {"count", 3}, {"ready", true}};
    const auto text = format_line(Format::kKlogText, line("command failed", Level::kError, fields));
    // Local time: which hour it is, the machine decides.
    EXPECT_THAT(text, MatchesRegex("E010[123] [0-9]{2}:[0-9]{2}:05\\.678901    4711 agent\\.cpp:42\\] .*\n"));
    EXPECT_THAT(text, HasSubstr(R"(] "command failed" err="no \"such\" thing\n" count=3 ready=true)"));
    EXPECT_EQ(format_line(Format::kKlogText, line("x", Level::kWarning)).front(), 'W');
    EXPECT_EQ(format_line(Format::kKlogText, line("x", Level::kDebug)).front(), 'I');
}

TEST(LogLine, KlogJson) {
    const std::vector<Field> fields{
        {"err", "tab\there"}, {"share", 0.5}, {"odd", std::numeric_limits<double>::infinity()}};
    EXPECT_EQ(format_line(Format::kKlogJson, line("it \"failed\"", Level::kError, fields)),
              "{\"ts\":1767323045678.901,\"caller\":\"agent/agent.cpp:42\",\"msg\":\"it \\\"failed\\\"\","
              "\"err\":\"tab\\there\",\"share\":0.5,\"odd\":\"inf\"}\n");
    EXPECT_EQ(format_line(Format::kKlogJson, line("x")),
              "{\"ts\":1767323045678.901,\"caller\":\"agent/agent.cpp:42\",\"msg\":\"x\",\"v\":0}\n");
}

struct Quoted {
    std::string name;
    std::string text;
    std::string json;
    std::string go;
};

TEST(Quoting, OfOddBytes) {
    const std::vector<Quoted> cases{
        {"control", std::string("\x01\x1f\x7f\0", 4), R"("\u0001\u001f\u007f\u0000")", R"("\x01\x1f\x7f\x00")"},
        {"short ones", "\b\f\n\r\t", R"("\b\f\n\r\t")", R"("\b\f\n\r\t")"},
        {"lone continuation", "a\x80z", R"("a\ufffdz")", R"("a\x80z")"},
        {"cut short", "a\xe2\x82", R"("a\ufffd\ufffd")", R"("a\xe2\x82")"},
        {"longer than needed", "\xc0\xaf\xe0\x80\xaf", R"("\ufffd\ufffd\ufffd\ufffd\ufffd")",
         R"("\xc0\xaf\xe0\x80\xaf")"},
        {"surrogate", "\xed\xa0\x80", R"("\ufffd\ufffd\ufffd")", R"("\xed\xa0\x80")"},
        {"above the last", "\xf4\x90\x80\x80", R"("\ufffd\ufffd\ufffd\ufffd")", R"("\xf4\x90\x80\x80")"},
        {"good ones", "ü€\xf0\x9f\x98\x80", "\"ü€\xf0\x9f\x98\x80\"", "\"ü€\xf0\x9f\x98\x80\""},
        {"line separators", "\xe2\x80\xa8\xc2\x85", R"("\u2028\u0085")", R"("\u2028\u0085")"},
    };
    for (const auto& one : cases) {
        SCOPED_TRACE(one.name);
        std::string json;
        append_json_string(json, one.text);
        EXPECT_EQ(json, one.json);
        std::string go;
        append_go_string(go, one.text);
        EXPECT_EQ(go, one.go);
    }
}

RC_GTEST_PROP(Quoting, AnyMessageIsOneLine, (const std::string& message, const std::string& value)) {
    const std::vector<Field> fields{{"key", value}};
    for (const auto format : {Format::kPlain, Format::kKlogText, Format::kKlogJson}) {
        const auto text = format_line(format, line(message, Level::kError, fields));
        for (std::size_t index = 0; index < text.size(); ++index) {
            const auto byte = static_cast<unsigned char>(text[index]);
            RC_ASSERT((byte >= 0x20 && byte != 0x7f) || (byte == '\n' && index + 1 == text.size()));
        }
    }
}

TEST_F(Log, SaysWhereItWasCalled) {
    configure(Format::kKlogText, 0);
    Captured captured(STDERR_FILENO);
    info("three and {}", 4);
    write(Level::kError, "command failed", {{"err", "why"}});
    const auto text = captured.text();
    EXPECT_THAT(
        text, MatchesRegex("I[0-9]{4} [0-9:.]{15} +[0-9]+ log_test\\.cpp:[0-9]+\\] \"three and 4\"\n"
                           "E[0-9]{4} [0-9:.]{15} +[0-9]+ log_test\\.cpp:[0-9]+\\] \"command failed\" err=\"why\"\n"));
}

TEST_F(Log, VerbosityIsAThreshold) {
    Captured captured(STDERR_FILENO);
    verbose(2, "two, not yet");
    set_verbosity(2);
    verbose(2, "two");
    debug("four, not yet");
    set_level(Level::kDebug);
    debug("four");
    set_level(Level::kError);
    warning("a warning, not any more");
    error("an error");
    const auto text = captured.text();
    EXPECT_THAT(text, HasSubstr("INFO    two\n"));
    EXPECT_THAT(text, HasSubstr("DEBUG   four\n"));
    EXPECT_THAT(text, HasSubstr("ERROR   an error\n"));
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << text;
}

TEST_F(Log, VmoduleSpeaksForItsFiles) {
    EXPECT_TRUE(set_vmodule("log_t*=5,other=9"));
    EXPECT_TRUE(enabled(5, {"/x/src/base/log_test.cpp", 1}));
    EXPECT_FALSE(enabled(6, {"/x/src/base/log_test.cpp", 1}));
    EXPECT_TRUE(enabled(9, {"src/kernel/other.cpp", 1}));
    EXPECT_FALSE(enabled(1, {"src/kernel/another.cpp", 1}));
    EXPECT_TRUE(set_vmodule("kernel/*=3"));
    EXPECT_TRUE(enabled(3, {"/x/src/kernel/nft/other.cpp", 1}));
    EXPECT_FALSE(enabled(3, {"/x/src/base/log.cpp", 1}));
    for (const auto* wrong : {"a", "a=", "=3", "a=-1", "a=x", "a=3x", "a=99999999999"}) {
        const auto refused = set_vmodule(wrong);
        ASSERT_FALSE(refused) << wrong;
        EXPECT_THAT(refused.error().message, HasSubstr(wrong));
    }
    EXPECT_TRUE(enabled(3, {"src/kernel/nft/other.cpp", 1})) << "a refused list changed something";
}

TEST_F(Log, SplitStream) {
    configure(Format::kKlogJson, 0);
    set_split_stream(true);
    Captured out(STDOUT_FILENO);
    Captured err(STDERR_FILENO);
    info("calm");
    error("alarm");
    EXPECT_THAT(err.text(), HasSubstr("alarm"));
    EXPECT_THAT(out.text(), HasSubstr("calm"));
}

}  // namespace
}  // namespace ghostip::log

#include "api/codec/rfc3339.h"

#include <fmt/format.h>

namespace ghostip::api::codec {
namespace {

using std::chrono::nanoseconds;
using std::chrono::system_clock;

constexpr int kFirstYear = 1678;
constexpr int kLastYear = 2261;
constexpr int kNanosecondDigits = 9;

// Eats its way through the text; once something does not fit, nothing does.
class Cursor {
  public:
    explicit Cursor(std::string_view text) : rest_(text) {}

    // This many digits as a number from `least` to `most`.
    int number(std::size_t digits, int least, int most) {
        int value = 0;
        for (std::size_t i = 0; i < digits; ++i) value = value * 10 + digit();
        if (value < least || value > most) good_ = false;
        return value;
    }
    int digit() {
        if (!at_digit()) good_ = false;
        if (!good_) return 0;
        const int value = rest_.front() - '0';
        rest_.remove_prefix(1);
        return value;
    }
    bool take(char character) {
        if (!good_ || rest_.empty() || rest_.front() != character) return false;
        rest_.remove_prefix(1);
        return true;
    }
    void need(char character) { good_ = take(character); }
    [[nodiscard]] bool at_digit() const { return !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9'; }
    [[nodiscard]] bool at_good_end() const { return good_ && rest_.empty(); }

  private:
    std::string_view rest_;
    bool good_ = true;
};

nanoseconds fraction(Cursor& cursor) {
    long value = cursor.digit();
    int digits = 1;
    while (cursor.at_digit()) {
        const int digit = cursor.digit();
        if (++digits <= kNanosecondDigits) value = value * 10 + digit;
    }
    for (; digits < kNanosecondDigits; ++digits) value *= 10;
    return nanoseconds(value);
}

}  // namespace

std::optional<system_clock::time_point> parse_rfc3339(std::string_view text) {
    Cursor cursor(text);
    const std::chrono::year year(cursor.number(4, kFirstYear, kLastYear));
    cursor.need('-');
    const std::chrono::month month(static_cast<unsigned>(cursor.number(2, 1, 12)));
    cursor.need('-');
    const std::chrono::day day(static_cast<unsigned>(cursor.number(2, 1, 31)));
    cursor.need('T');
    nanoseconds of_day = std::chrono::hours(cursor.number(2, 0, 23));
    cursor.need(':');
    of_day += std::chrono::minutes(cursor.number(2, 0, 59));
    cursor.need(':');
    of_day += std::chrono::seconds(cursor.number(2, 0, 59));
    if (cursor.take('.')) of_day += fraction(cursor);
    if (!cursor.take('Z')) {
        const int sign = cursor.take('-') ? -1 : 1;
        if (sign > 0) cursor.need('+');
        of_day -= sign * std::chrono::hours(cursor.number(2, 0, 23));
        cursor.need(':');
        of_day -= sign * std::chrono::minutes(cursor.number(2, 0, 59));
    }
    const std::chrono::year_month_day date(year, month, day);
    if (!cursor.at_good_end() || !date.ok()) return std::nullopt;
    return system_clock::time_point(std::chrono::sys_days(date)) +
           std::chrono::duration_cast<system_clock::duration>(of_day);
}

std::string rfc3339_text(system_clock::time_point time) {
    const auto days = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date(days);
    const std::chrono::hh_mm_ss<nanoseconds> clock(time - days);
    std::string text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(date.year()),
                                   static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                   clock.hours().count(), clock.minutes().count(), clock.seconds().count());
    if (clock.subseconds().count() != 0) {
        text += fmt::format(".{:09}", clock.subseconds().count());
        text.resize(text.find_last_not_of('0') + 1);
    }
    return text + 'Z';
}

}  // namespace ghostip::api::codec

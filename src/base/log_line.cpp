#include "base/log_line.h"

#include <cmath>
#include <ctime>
#include <iterator>

#include "base/quoted.h"

namespace ghostip::log {
namespace {

using std::chrono::duration_cast;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr long kMicrosecondsInSecond = 1'000'000;

std::string_view name_of(Level level) {
    switch (level) {
        case Level::kDebug: return "DEBUG";
        case Level::kInfo: return "INFO";
        case Level::kWarning: return "WARNING";
        case Level::kError: return "ERROR";
    }
    return "";
}

std::tm broken_down(std::chrono::system_clock::time_point time, bool local) {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
    std::tm parts{};
    if (local) {
        ::localtime_r(&seconds, &parts);
    } else {
        ::gmtime_r(&seconds, &parts);
    }
    return parts;
}

long microseconds_of(std::chrono::system_clock::time_point time) {
    return static_cast<long>(duration_cast<microseconds>(time.time_since_epoch()).count()) % kMicrosecondsInSecond;
}

void append_text_fields(std::string& out, std::span<const Field> fields) {
    for (const auto& field : fields) {
        out += ' ';
        out += field.key;
        out += '=';
        if (field.bare) {
            out += field.value;
        } else {
            append_go_string(out, field.value);
        }
    }
}

// What is plain stays readable: control characters are escaped, the rest is as it came.
void append_plain(std::string& out, std::string_view text) {
    std::string quoted;
    append_go_string(quoted, text);
    const bool tame = quoted.size() == text.size() + 2;
    if (tame) {
        out += text;
        return;
    }
    for (std::size_t index = 1; index + 1 < quoted.size(); ++index) {
        const bool escaped = quoted[index] == '\\';
        const bool needless = escaped && (quoted[index + 1] == '"' || quoted[index + 1] == '\\');
        if (needless) ++index;
        out += quoted[index];
        if (escaped && !needless) out += quoted[++index];
    }
}

std::string plain(const Line& line) {
    const auto utc = broken_down(line.time, false);
    std::string out = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z {:<7} ", utc.tm_year + 1900,
                                  utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                                  microseconds_of(line.time) / 1000, name_of(line.level));
    append_plain(out, line.message);
    append_text_fields(out, line.fields);
    out += '\n';
    return out;
}

// klog writes local time.
std::string klog_text(const Line& line) {
    const auto local = broken_down(line.time, true);
    const char letter = line.level == Level::kDebug ? 'I' : name_of(line.level).front();
    std::string out = fmt::format("{}{:02}{:02} {:02}:{:02}:{:02}.{:06} {:>7} {}:{}] ", letter, local.tm_mon + 1,
                                  local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, microseconds_of(line.time),
                                  line.process, last_one(line.location.file), line.location.line);
    append_go_string(out, line.message);
    append_text_fields(out, line.fields);
    out += '\n';
    return out;
}

// JSON has no word for what is no number.
bool is_json_number(std::string_view value) { return value.find_first_of("aif") == std::string_view::npos; }

std::string klog_json(const Line& line) {
    const auto micros = duration_cast<microseconds>(line.time.time_since_epoch()).count();
    std::string out = fmt::format("{{\"ts\":{}.{:03},\"caller\":", micros / 1000, micros % 1000);
    append_json_string(out, fmt::format("{}:{}", last_two(line.location.file), line.location.line));
    out += ",\"msg\":";
    append_json_string(out, line.message);
    // Errors have no verbosity. klog's JSON knows no warnings; this one says it, in a key that klog does not use.
    if (line.level != Level::kError) fmt::format_to(std::back_inserter(out), ",\"v\":{}", line.verbosity);
    if (line.level == Level::kWarning) out += ",\"severity\":\"warning\"";
    for (const auto& field : line.fields) {
        out += ',';
        append_json_string(out, field.key);
        out += ':';
        if (field.bare && (is_json_number(field.value) || field.value == "true" || field.value == "false")) {
            out += field.value;
        } else {
            append_json_string(out, field.value);
        }
    }
    out += "}\n";
    return out;
}

}  // namespace

std::string_view last_one(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string_view last_two(std::string_view path) {
    const auto slash = path.rfind('/');
    if (slash == std::string_view::npos || slash == 0) return path;
    return path.substr(path.rfind('/', slash - 1) + 1);
}

std::string format_line(Format format, const Line& line) {
    switch (format) {
        case Format::kPlain: return plain(line);
        case Format::kKlogText: return klog_text(line);
        case Format::kKlogJson: return klog_json(line);
    }
    return {};
}

}  // namespace ghostip::log

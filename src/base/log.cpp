#include "base/log.h"

#include <fnmatch.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <climits>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/log_line.h"

namespace ghostip::log {
namespace {

struct ModuleLevel {
    std::string pattern;
    int verbosity = 0;
};
using Modules = std::vector<ModuleLevel>;

constexpr int kNothingBelowWarnings = -1;
constexpr int kNothingBelowErrors = -2;

std::atomic<Format> g_format = Format::kPlain;
std::atomic<int> g_verbosity = 0;  // below 0: the constants above
std::atomic<bool> g_split_stream = false;
std::atomic<bool> g_has_modules = false;
std::mutex g_modules_mutex;
Modules g_modules;  // guarded by g_modules_mutex
std::mutex g_write_mutex;

int needed(Level level) {
    switch (level) {
        case Level::kDebug: return kDebugVerbosity;
        case Level::kInfo: return 0;
        case Level::kWarning: return kNothingBelowWarnings;
        case Level::kError: return kNothingBelowErrors;
    }
    return 0;
}

std::string_view below_src(std::string_view file) {
    const auto at = file.rfind("src/");
    return at == std::string_view::npos ? file : file.substr(at + 4);
}

// What the patterns say of this file; without a match, what holds for all.
int verbosity_of(const Location& location) {
    const int everywhere = g_verbosity.load(std::memory_order_relaxed);
    if (!g_has_modules.load(std::memory_order_acquire)) return everywhere;
    std::string path(below_src(location.file));
    path = path.substr(0, path.rfind('.'));
    const std::string name(last_one(path));
    const std::lock_guard lock(g_modules_mutex);
    for (const auto& module : g_modules) {
        const bool whole = module.pattern.find('/') != std::string::npos;
        if (::fnmatch(module.pattern.c_str(), whole ? path.c_str() : name.c_str(), 0) == 0) return module.verbosity;
    }
    return everywhere;
}

// A reader that has stopped reading costs us its lines, never more than a moment. A pipe that is writable has room for
// PIPE_BUF bytes; more could block.
void write_all(int fd, std::string_view text) {
    constexpr int kPatienceMilliseconds = 100;
    while (!text.empty()) {
        pollfd room{fd, POLLOUT, 0};
        const int ready = ::poll(&room, 1, kPatienceMilliseconds);
        if (ready < 0 && errno == EINTR) continue;
        if (ready != 1) return;
        const auto written = ::write(fd, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
        if (written > 0)
            text.remove_prefix(static_cast<std::size_t>(written));
        else if (errno != EINTR && errno != EAGAIN)
            return;
    }
}

}  // namespace

void configure(Format format, int verbosity) {
    g_format = format;
    g_verbosity = verbosity;
}

void set_verbosity(int verbosity) { g_verbosity = verbosity; }

int verbosity() { return g_verbosity; }

void set_level(Level level) { g_verbosity = needed(level); }

void set_split_stream(bool split) { g_split_stream = split; }

Result<void> set_vmodule(std::string_view patterns) {
    Modules modules;
    while (!patterns.empty()) {
        const auto comma = std::min(patterns.find(','), patterns.size());
        const auto part = patterns.substr(0, comma);
        patterns.remove_prefix(std::min(comma + 1, patterns.size()));
        if (part.empty()) continue;
        const auto equals = part.find('=');
        int level = -1;
        const auto number = equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1);
        const auto* end = number.data() + number.size();
        const auto parsed = std::from_chars(number.data(), end, level);
        if (number.empty() || equals == 0 || parsed.ec != std::errc() || parsed.ptr != end || level < 0)
            return fail("vmodule: \"{}\": not of the form pattern=N", part);
        modules.push_back({std::string(part.substr(0, equals)), level});
    }
    const std::lock_guard lock(g_modules_mutex);
    g_has_modules.store(!modules.empty(), std::memory_order_release);
    g_modules = std::move(modules);
    return {};
}

bool enabled(Level level, const Location& location) {
    if (level != Level::kDebug) return needed(level) <= g_verbosity.load(std::memory_order_relaxed);
    return enabled(kDebugVerbosity, location);
}

bool enabled(int verbosity, const Location& location) { return verbosity <= verbosity_of(location); }

void put(Level level, int verbosity, const Location& location, std::string_view message, Fields fields) {
    Line line{level, verbosity, location, message, {fields.begin(), fields.size()}, {}, ::getpid()};
    const Format format = g_format;
    const bool to_out = g_split_stream && format != Format::kPlain && level != Level::kError;
    const std::lock_guard lock(g_write_mutex);
    line.time = std::chrono::system_clock::now();  // under the lock: lines stand in the order of their times
    write_all(to_out ? STDOUT_FILENO : STDERR_FILENO, format_line(format, line));
}

}  // namespace ghostip::log

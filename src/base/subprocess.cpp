#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "base/fd.h"

namespace ghostip {
namespace {

using Clock = std::chrono::steady_clock;

// For what a program that has ended left in its pipes; more comes from others who have them too.
constexpr std::chrono::seconds kLastWords{1};

struct Pipe {
    Fd reader;
    Fd writer;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_errno("make a pipe");
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);  // ours only: the other end is another open file
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

// A file in memory instead of a pipe: nobody has to feed it, and no SIGPIPE comes from who does not read it.
Result<Fd> input_file(std::string_view text) {
    if (text.empty()) {
        Fd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        if (!nothing) return fail_errno("open /dev/null");
        return nothing;
    }
    Fd file(::memfd_create("input", MFD_CLOEXEC));
    if (!file) return fail_errno("make a file in memory");
    while (!text.empty()) {
        const auto written = ::write(file.get(), text.data(), text.size());
        if (written < 0) return fail_errno("write a file in memory");
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    if (::lseek(file.get(), 0, SEEK_SET) < 0) return fail_errno("rewind a file in memory");
    return file;
}

// Of its own.
bool has_group(const Program& program) { return program.standard_input == Stream::kOurs; }

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> result;
    result.reserve(texts.size() + 1);
    // posix_spawn takes them without const and leaves them alone.
    for (const auto& text : texts) result.push_back(const_cast<char*>(text.c_str()));
    result.push_back(nullptr);
    return result;
}

// Signals as a fresh process has them: this process blocks those that end it. A stream of -1 is inherited.
Result<pid_t> spawn(const Program& program, int in, int out, int err) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    if (in >= 0) ::posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (err >= 0) ::posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    const int group = has_group(program) ? POSIX_SPAWN_SETPGROUP : 0;
    ::posix_spawnattr_setflags(&attributes, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | group));
    const auto argv = pointers(program.argv);
    std::vector<char*> environment;
    if (program.environment) environment = pointers(*program.environment);
    pid_t pid = -1;
    const int code = ::posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(),
                                    program.environment ? environment.data() : environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (code != 0) return errno_error(code, fmt::format("run {}", program.argv[0]));
    return pid;
}

// Hands on what is there, as long as `more` wants more. False: the stream has ended.
template <typename Take, typename More>
bool drain(int fd, const Take& take, const More& more) {
    std::array<char, 65536> buffer{};
    while (more()) {
        const auto got = ::read(fd, buffer.data(), buffer.size());
        if (got > 0) {
            take(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
            continue;
        }
        if (got < 0 && errno == EINTR) continue;
        return got < 0 && errno == EAGAIN;
    }
    return true;
}

// While it lives, a write to a pipe that nobody reads is an error for this thread, and no signal.
class NoPipeSignal {
  public:
    NoPipeSignal() {
        sigset_t pending;
        sigemptyset(&pipe_);
        sigaddset(&pipe_, SIGPIPE);
        ::sigpending(&pending);
        was_pending_ = sigismember(&pending, SIGPIPE) == 1;
        ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
    }
    ~NoPipeSignal() {
        const timespec at_once{};
        if (!was_pending_) static_cast<void>(::sigtimedwait(&pipe_, nullptr, &at_once));
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    NoPipeSignal(const NoPipeSignal&) = delete;
    NoPipeSignal& operator=(const NoPipeSignal&) = delete;

  private:
    sigset_t pipe_{};
    sigset_t before_{};
    bool was_pending_ = false;
};

// What the program still has to read.
class Feed {
  public:
    Feed(Fd writer, const Program& program) : writer_(std::move(writer)), source_(program.input_source) {}
    [[nodiscard]] int fd() const { return writer_.get(); }  // -1: nothing is left

    // Writes until the pipe is full; not for ever, where the program reads as fast as this writes.
    void write() {
        for (int writes = 0; writes < kWritesAtOnce && writer_; ++writes) {
            if (written_ == buffer_.size() && !fill()) return writer_.reset();
            const auto written = ::write(writer_.get(), buffer_.data() + written_, buffer_.size() - written_);
            if (written >= 0) {
                written_ += static_cast<std::size_t>(written);
            } else if (errno == EAGAIN) {
                return;
            } else if (errno != EINTR) {  // EPIPE: it has read enough
                return writer_.reset();
            }
        }
    }

  private:
    static constexpr int kWritesAtOnce = 256;
    static constexpr std::size_t kEnough = 65536;  // what a pipe holds

    // Pieces may be as small as a line. False: there are no more.
    bool fill() {
        buffer_.clear();
        written_ = 0;
        while (!ended_ && buffer_.size() < kEnough) {
            const auto piece = source_();
            ended_ = piece.empty();
            buffer_ += piece;
        }
        return !buffer_.empty();
    }

    Fd writer_;
    const std::function<std::string_view()>& source_;
    std::string buffer_;
    std::size_t written_ = 0;
    bool ended_ = false;
};

// Feeds it and reads both streams until the program ends; what a child that it left behind says later is not waited
// for.
Result<void> converse(const Program& program, const Fd& process, Feed& feed, const Fd& out, const Fd& err,
                      Finished& finished) {
    const auto deadline = Clock::now() + program.time_limit;
    std::array<pollfd, 5> fds{{{process.get(), POLLIN, 0},
                               {out.get(), POLLIN, 0},
                               {err.get(), POLLIN, 0},
                               {feed.fd(), POLLOUT, 0},
                               {program.stop_fd, POLLIN, 0}}};
    const auto not_too_much = [&] { return finished.out.size() + finished.err.size() <= program.most_output; };
    const auto hear = [&](Clock::time_point until) {
        const auto say = [&](std::string_view text) {
            if (program.output_sink) {
                program.output_sink(text);
            } else {
                finished.out += text;
            }
        };
        // One that never stops to talk must not keep this from looking at the clock.
        const auto more = [&] { return not_too_much() && Clock::now() < until; };
        if (!drain(out.get(), say, more)) fds[1].fd = -1;
        if (err && !drain(
                       err.get(), [&](std::string_view text) { finished.err += text; }, more))
            fds[2].fd = -1;
    };
    while (true) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
        if (left <= 0)
            return errno_error(ETIMEDOUT,
                               fmt::format("{} did not end within {} ms", program.argv[0], program.time_limit.count()));
        if (::poll(fds.data(), fds.size(), static_cast<int>(std::min<long>(left, 60000))) < 0 && errno != EINTR)
            return fail_errno("wait for {}", program.argv[0]);
        if (fds[4].revents != 0) return errno_error(ECANCELED, fmt::format("{} was stopped", program.argv[0]));
        feed.write();
        fds[3].fd = feed.fd();
        hear(deadline);
        if (!not_too_much())
            return errno_error(EFBIG, fmt::format("{} says more than {} bytes", program.argv[0], program.most_output));
        if (fds[0].revents != 0) {  // it may have written and ended since the streams were read
            hear(Clock::now() + kLastWords);
            return {};
        }
    }
}

// Until it has ended; its id stays its own until somebody waits in earnest.
void wait_unreaped(pid_t pid) {
    siginfo_t ignored{};
    while (::waitid(P_PID, static_cast<id_t>(pid), &ignored, WEXITED | WNOWAIT) < 0 && errno == EINTR) continue;
}

}  // namespace

Result<Finished> run(const Program& program) {
    if (program.argv.empty()) return fail("run: no program is named");
    Pipe in;
    Pipe err;
    if (program.input_source) {
        ASSIGN_OR_RETURN(in, make_pipe());
        ::fcntl(in.writer.get(), F_SETFL, O_NONBLOCK);
        ::fcntl(in.reader.get(), F_SETFL, 0);
    } else if (program.standard_input == Stream::kOurs) {
        ASSIGN_OR_RETURN(in.reader, input_file(program.input));
    }
    if (program.standard_error == Stream::kOurs) {
        ASSIGN_OR_RETURN(err, make_pipe());
    }
    ASSIGN_OR_RETURN(Pipe out, make_pipe());
    const auto start = [&] { return spawn(program, in.reader.get(), out.writer.get(), err.writer.get()); };
    ASSIGN_OR_RETURN(const pid_t pid, program.listed == nullptr ? start() : program.listed->start(start));
    in.reader.reset();
    out.writer.reset();
    err.writer.reset();
    // Its wrapper in glibc 2.36 is not declared for C++.
    const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    Finished finished;
    const NoPipeSignal quiet;
    Feed feed(std::move(in.writer), program);
    const auto heard = process ? converse(program, process, feed, out.reader, err.reader, finished)
                               : Result<void>(fail_errno("watch {}", program.argv[0]));
    if (!heard) ::kill(has_group(program) ? -pid : pid, SIGKILL);
    if (program.listed != nullptr) {
        wait_unreaped(pid);
        program.listed->end(pid);
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (!heard) return heard.error();
    finished.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return finished;
}

std::string last_words(const Finished& finished) {
    std::string_view text = finished.err;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
    text = text.substr(text.rfind('\n') + 1);
    if (text.empty()) return fmt::format("exit code {}", finished.status);
    return std::string(text);
}

}  // namespace ghostip

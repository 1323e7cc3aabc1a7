#include "source/kubernetes/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <csignal>

#include "base/fd.h"

namespace ghostip::source::kubernetes {
namespace {

constexpr std::size_t kLargestOutput = std::size_t{1} << 20U;

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    result.reserve(texts.size() + 1);
    for (auto& text : texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
}

// A child that is killed and waited for when nobody did.
class Child {
  public:
    explicit Child(pid_t pid) : pid_(pid) {}
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (pid_ > 0) ::kill(pid_, SIGKILL);
        std::ignore = wait();
    }
    int wait() {
        if (pid_ <= 0) return 0;
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    // A descriptor that becomes readable when it ends; Linux 5.3.
    [[nodiscard]] Fd watch() const { return Fd{static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0))}; }

  private:
    pid_t pid_;
};

Result<pid_t> spawn(const ChildProgram& program, int output) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    if (program.input == ChildInput::kNothing)
        ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    // Threads of this process block signals; a program expects that they arrive.
    sigset_t none;
    sigset_t defaults;
    sigemptyset(&none);
    sigfillset(&defaults);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &defaults);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

    std::vector<std::string> arguments{program.command};
    arguments.insert(arguments.end(), program.arguments.begin(), program.arguments.end());
    std::vector<std::string> environment = program.environment;
    pid_t pid = 0;
    const int error = ::posix_spawnp(&pid, program.command.c_str(), &actions, &attributes, pointers(arguments).data(),
                                     pointers(environment).data());
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) return errno_error(error, program.command);
    return pid;
}

// Reads what is there. Whether more may come.
Result<bool> drain(int fd, std::string& output) {
    std::array<char, 16384> buffer{};
    while (true) {
        const ssize_t size = ::read(fd, buffer.data(), buffer.size());
        if (size == 0) return false;
        if (size < 0 && errno == EAGAIN) return true;
        if (size < 0 && errno != EINTR) return fail_errno("read");
        if (size > 0) output.append(buffer.data(), static_cast<std::size_t>(size));
        if (output.size() > kLargestOutput) return fail("printed more than {} MiB", kLargestOutput >> 20U);
    }
}

}  // namespace

Result<ChildEnd> run_child(const ChildProgram& program, int stop_fd, std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("pipe2");
    const Fd output{ends[0]};
    Fd input{ends[1]};
    ASSIGN_OR_RETURN(const pid_t pid, spawn(program, input.get()));
    input.reset();
    ::fcntl(output.get(), F_SETFL, O_NONBLOCK);
    Child child(pid);
    const Fd ended = child.watch();

    ChildEnd end;
    bool open = true;
    // A grandchild may hold the output open for ever: what counts is the end of the program itself.
    for (bool running = true; running;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) return fail("{}: took longer than {} ms", program.command, limit.count());
        std::array<pollfd, 3> ready{
            {{stop_fd, POLLIN, 0}, {open ? output.get() : -1, POLLIN, 0}, {ended.get(), POLLIN, 0}}};
        ::poll(ready.data(), ready.size(), static_cast<int>(left.count()));
        if (ready[0].revents != 0) return fail("{}: was stopped", program.command);
        auto still_open = open ? drain(output.get(), end.output) : Result<bool>(false);
        if (!still_open) return still_open.error().within(program.command);
        open = *still_open;
        running = ended ? ready[2].revents == 0 : open;
    }
    end.exit_code = child.wait();
    return end;
}

}  // namespace ghostip::source::kubernetes

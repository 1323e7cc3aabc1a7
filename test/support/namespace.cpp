#include "support/namespace.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>

namespace ghostip::testnet {
namespace {

Fd open_own() { return Fd{::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)}; }

// Only leaving a namespace half-way would be worse than to stop: packets meant for a test could then leave the machine.
void enter_or_abort(int fd) {
    if (::setns(fd, CLONE_NEWNET) == 0) return;
    std::perror("setns");
    std::abort();
}

Result<void> loopback_up() {
    const Fd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ifreq request{};
    std::strncpy(request.ifr_name, "lo", sizeof(request.ifr_name) - 1);
    request.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
    if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return fail_errno("bring lo up");
    return {};
}

struct Pipe {
    Fd read;
    Fd write;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("pipe");
    return Pipe{Fd{ends[0]}, Fd{ends[1]}};
}

// In the child, between fork and exec.
[[noreturn]] void become(int ns, const std::string& root, std::vector<char*>& argv, int in, int out, int err,
                         pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    enter_or_abort(ns);
    if (!root.empty() && (::chroot(root.c_str()) != 0 || ::chdir("/") != 0)) ::_exit(126);
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(err, 2);
    ::execvp(argv[0], argv.data());
    ::dprintf(2, "%s: %s\n", argv[0], std::strerror(errno));
    ::_exit(127);
}

std::vector<char*> c_argv(const std::vector<std::string>& argv) {
    std::vector<char*> result;
    result.reserve(argv.size() + 1);
    for (const auto& argument : argv) result.push_back(const_cast<char*>(argument.c_str()));
    result.push_back(nullptr);
    return result;
}

// Reads what there is; false at the end.
bool drain(Fd& fd, std::string& into) {
    std::array<char, 65536> buffer;
    const auto got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got > 0) into.append(buffer.data(), static_cast<std::size_t>(got));
    return got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN));
}

}  // namespace

Result<Namespace> Namespace::create() {
    std::optional<Result<Namespace>> made;
    std::thread([&made] {
        if (::unshare(CLONE_NEWNET) != 0) {
            made = fail_errno("make a network namespace (needs CAP_SYS_ADMIN)");
            return;
        }
        if (auto up = loopback_up(); !up) {
            made = std::move(up).error();
            return;
        }
        Fd own = open_own();
        if (!own)
            made = fail_errno("open /proc/thread-self/ns/net");
        else
            made = Namespace(std::move(own));
    }).join();
    return std::move(*made);
}

std::string Namespace::path() const { return fmt::format("/proc/{}/fd/{}", ::getpid(), fd_.get()); }

Namespace::Entered::Entered(int fd) : before_(open_own()) { enter_or_abort(fd); }
Namespace::Entered::~Entered() { enter_or_abort(before_.get()); }

Result<Output> Namespace::run(const std::vector<std::string>& argv, std::string_view input,
                              const std::string& root) const {
    ASSIGN_OR_RETURN(Pipe in, make_pipe());
    ASSIGN_OR_RETURN(Pipe out, make_pipe());
    ASSIGN_OR_RETURN(Pipe err, make_pipe());
    auto arguments = c_argv(argv);
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) return fail_errno("fork");
    if (child == 0) become(fd(), root, arguments, in.read.get(), out.write.get(), err.write.get(), parent);
    in.read.reset();
    out.write.reset();
    err.write.reset();

    Output result;
    if (input.empty()) in.write.reset();
    if (in.write) ::fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
    struct sigaction ignore {};
    struct sigaction before {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, &before);
    while (out.read || err.read) {
        std::array<pollfd, 3> fds{pollfd{out.read.get(), POLLIN, 0}, pollfd{err.read.get(), POLLIN, 0},
                                  pollfd{in.write.get(), POLLOUT, 0}};
        if (::poll(fds.data(), fds.size(), -1) < 0) continue;
        if (fds[0].revents != 0 && !drain(out.read, result.out)) out.read.reset();
        if (fds[1].revents != 0 && !drain(err.read, result.err)) err.read.reset();
        if (fds[2].revents == 0) continue;
        const auto wrote = ::write(in.write.get(), input.data(), input.size());
        if (wrote > 0) input.remove_prefix(static_cast<std::size_t>(wrote));
        if (input.empty() || (wrote < 0 && errno != EAGAIN && errno != EINTR)) in.write.reset();
    }
    ::sigaction(SIGPIPE, &before, nullptr);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

Result<std::string> Namespace::must_run(const std::vector<std::string>& argv, std::string_view input) const {
    ASSIGN_OR_RETURN(Output output, run(argv, input));
    if (output.status != 0)
        return fail("{} ended with {}: {}{}", fmt::join(argv, " "), output.status, output.err, output.out);
    return std::move(output.out);
}

Result<int> Namespace::start(const std::vector<std::string>& argv, int log) const {
    auto arguments = c_argv(argv);
    const Fd nothing{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) return fail_errno("fork");
    if (child == 0) become(fd(), {}, arguments, nothing.get(), log, log, parent);
    return child;
}

Result<void> Namespace::sysctl(const std::string& name, std::string_view value) const {
    const auto inside = enter();
    const std::string path = "/proc/sys/" + name;
    const Fd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!file || ::write(file.get(), value.data(), value.size()) < 0) return fail_errno("write {} to {}", value, path);
    return {};
}

}  // namespace ghostip::testnet

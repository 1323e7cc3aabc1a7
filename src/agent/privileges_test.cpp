#include "agent/privileges.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <netdb.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "base/fd.h"
#include "base/subprocess.h"

namespace ghostip::agent {
namespace {

using ::testing::ElementsAre;

// What is given up never comes back, so each case has a process of its own. It says what is wrong; "" if nothing.
std::string in_a_child(const std::function<std::string()>& body) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const Fd reader(ends[0]);
    Fd writer(ends[1]);
    const pid_t child = ::fork();
    if (child == 0) {
        const auto wrong = body();
        (void)!::write(writer.get(), wrong.data(), wrong.size());
        ::_exit(0);
    }
    writer.reset();
    std::string wrong;
    std::array<char, 4096> buffer{};
    for (ssize_t got = 0; (got = ::read(reader.get(), buffer.data(), buffer.size())) > 0;)
        wrong.append(buffer.data(), static_cast<std::size_t>(got));
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) wrong += fmt::format("ended by signal {}", WTERMSIG(status));
    return wrong;
}

std::string filtered(Programs programs, const std::function<std::string()>& body) {
    return in_a_child([&]() -> std::string {
        const auto done = filter_calls(programs);
        return done ? body() : done.error().message;
    });
}

// "" if the call failed with that code.
std::string refused(const char* what, long result, int code) {
    const int got = errno;
    if (result >= 0) return fmt::format("{} was let through; ", what);
    return got == code ? "" : fmt::format("{}: errno {} instead of {}; ", what, got, code);
}

TEST(CallFilter, RefusesWhatTheAgentNeverDoes) {
    EXPECT_EQ(filtered(Programs::kNone,
                       [] {
                           std::string wrong;
                           const std::array<char*, 1> none{nullptr};
                           wrong += refused("execve", ::execve("/bin/true", none.data(), none.data()), EPERM);
                           wrong += refused("fork", ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), ENOSYS);
                           wrong += refused("ptrace", ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr), EPERM);
                           wrong += refused("mount", ::syscall(SYS_mount, "", "/proc", "", 0, ""), EPERM);
                           wrong += refused("unshare", ::unshare(CLONE_NEWUSER), EPERM);
                           wrong += refused("bpf", ::syscall(SYS_bpf, 0, nullptr, 0), EPERM);
                           wrong += refused("init_module", ::syscall(SYS_init_module, nullptr, 0, ""), EPERM);
                           wrong += refused("keyctl", ::syscall(SYS_keyctl, 0, 0, 0, 0, 0), EPERM);
                           wrong += refused("kill", ::kill(::getppid(), 0), EPERM);
                           wrong += refused("packet socket", ::socket(AF_PACKET, SOCK_RAW, 0), ENOSYS);
                           wrong += refused("dumpable", ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), ENOSYS);
                           return wrong;
                       }),
              "");
}

TEST(CallFilter, LetsTheAgentWork) {
    EXPECT_EQ(filtered(Programs::kNone,
                       []() -> std::string {
                           bool ran = false;
                           std::thread([&] { ran = true; }).join();
                           if (!ran) return "no thread";
                           const Fd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0));
                           if (!netlink) return "no netlink";
                           addrinfo* found = nullptr;
                           if (::getaddrinfo("localhost", "443", nullptr, &found) != 0) return "no resolver";
                           ::freeaddrinfo(found);
                           std::ifstream file("/proc/self/status");
                           std::string line;
                           while (std::getline(file, line))
                               if (line == "Seccomp:\t2") return "";
                           return "no filter";
                       }),
              "");
}

TEST(CallFilter, HoldsForThreadsThatAreThere) {
    EXPECT_EQ(in_a_child([] {
                  std::string wrong = "the thread did not run";
                  std::array<int, 2> go{};
                  if (::pipe(go.data()) != 0) return std::string("no pipe");
                  std::thread other([&] {
                      char byte = 0;
                      (void)!::read(go[0], &byte, 1);
                      wrong = refused("unshare", ::unshare(CLONE_NEWUSER), EPERM);
                  });
                  const auto done = filter_calls(Programs::kNone);
                  (void)!::write(go[1], "g", 1);
                  other.join();
                  return done ? wrong : done.error().message;
              }),
              "");
}

TEST(CallFilter, WithProgramsRunsThemAndStillRefuses) {
    EXPECT_EQ(filtered(Programs::kAllowed,
                       []() -> std::string {
                           const auto done = run({{"sh", "-c", "echo token; unshare -n true || exit 7"}});
                           if (!done) return done.error().message;
                           if (done->out != "token\n" || done->status != 7)
                               return done->err + "the program could unshare";
                           std::string wrong;
                           wrong += refused("mount", ::syscall(SYS_mount, "", "/proc", "", 0, ""), EPERM);
                           wrong +=
                               refused("namespace", ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), EPERM);
                           wrong += refused("packet socket", ::socket(AF_PACKET, SOCK_RAW, 0), EPERM);
                           return wrong;
                       }),
              "");
}

TEST(Capabilities, ByMode) {
    static constexpr std::array<int, 1> kMode{CAP_NET_ADMIN};
    EXPECT_THAT(needed_capabilities({kMode}), ElementsAre(CAP_NET_ADMIN));
    EXPECT_THAT(needed_capabilities({kMode, true}), ElementsAre(CAP_NET_BIND_SERVICE, CAP_NET_ADMIN));
}

std::string status_line(const std::string& name) {
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);)
        if (line.starts_with(name + ":\t")) return line.substr(name.size() + 2);
    return "";
}

TEST(Capabilities, TheRestIsGoneForGood) {
    if (::prctl(PR_CAPBSET_READ, CAP_NET_ADMIN, 0, 0, 0) != 1 || ::geteuid() != 0)
        GTEST_SKIP() << "needs CAP_NET_ADMIN";
    EXPECT_EQ(in_a_child([]() -> std::string {
                  const auto kept = keep_only({CAP_NET_ADMIN});
                  if (!kept) return kept.error().message;
                  std::string wrong;
                  for (const auto* set : {"CapPrm", "CapEff", "CapBnd"})
                      if (status_line(set) != "0000000000001000") wrong += set + (" " + status_line(set)) + "; ";
                  for (const auto* set : {"CapInh", "CapAmb"})
                      if (status_line(set) != "0000000000000000") wrong += set + (" " + status_line(set)) + "; ";
                  if (status_line("NoNewPrivs") != "1") wrong += "new privileges; ";
                  const auto program = run({{"grep", "CapEff", "/proc/self/status"}});
                  if (!program || program->out != "CapEff:\t0000000000000000\n") wrong += "a program got some; ";
                  const auto again = keep_only({CAP_NET_ADMIN, CAP_SYS_ADMIN});
                  if (!again) wrong += again.error().message;
                  if (status_line("CapEff") != "0000000000001000") wrong += "more than before; ";
                  return wrong;
              }),
              "");
}

}  // namespace
}  // namespace ghostip::agent

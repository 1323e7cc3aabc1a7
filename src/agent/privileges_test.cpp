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
    EXPECT_THAT(needed_capabilities({kMode, false, true}), ElementsAre(CAP_NET_BIND_SERVICE, CAP_NET_ADMIN));
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
                  if (!has_capability(CAP_NET_ADMIN) || has_capability(CAP_SYS_ADMIN)) wrong += "says otherwise; ";
                  return wrong;
              }),
              "");
}

// What a rule of a mode looks like whose programs must get through the filter and with what capabilities are left: in a
// namespace of the case's own, which it enters before it gives anything up.
constexpr std::array<const char*, 4> kIptables{"iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"};
constexpr std::array<int, 2> kForIptables{CAP_NET_ADMIN, CAP_NET_RAW};

std::string rules_of_iptables(const char* program) {
    const std::string text =
        "*filter\n:GHOSTIP-TEST - [0:0]\n-A GHOSTIP-TEST -m comment --comment \"a rule\" -m conntrack --ctstate NEW "
        "-j REJECT\nCOMMIT\n*nat\n:GHOSTIP-TEST - [0:0]\n-A GHOSTIP-TEST -p tcp -m tcp --dport 80 -m statistic --mode "
        "random --probability 0.5 -j MASQUERADE\nCOMMIT\n";
    const auto written = run({{std::string(program) + "-restore", "-w", "5", "--noflush"}, text});
    if (!written) return written.error().message + "; ";
    if (written->status != 0) return fmt::format("{}: {}; ", program, last_words(*written));
    for (const std::string table : {"filter", "nat"}) {
        const auto rule = run({{program, "-w", "5", "-t", table, "-S", "GHOSTIP-TEST"}});
        if (!rule || rule->out.find("-A GHOSTIP-TEST") == std::string::npos)
            return fmt::format("{}: no rule in {}; ", program, table);
    }
    return "";
}

bool can_make_namespaces() { return ::geteuid() == 0 && ::prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 1; }

TEST(Capabilities, ProgramsOfAModeGetTheModes) {
    if (!can_make_namespaces()) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
    EXPECT_EQ(
        in_a_child([]() -> std::string {
            if (::unshare(CLONE_NEWNET) != 0) return "no namespace";
            drop_privileges({kForIptables, true, false, Programs::kAllowed, true});
            std::string wrong;
            const auto program = run({{"grep", "-E", "Cap(Eff|Prm|Amb|Bnd)|Seccomp:|NoNewPrivs", "/proc/self/status"}});
            if (!program) return program.error().message;
            if (program->out !=
                "CapPrm:\t0000000000003000\nCapEff:\t0000000000003000\n"
                "CapBnd:\t0000000000003000\nCapAmb:\t0000000000003000\nNoNewPrivs:\t1\n"
                "Seccomp:\t2\n")
                wrong += "the program's own: " + program->out;
            // From threads that are started later, as the families' are.
            for (const auto* name : kIptables) std::thread([&] { wrong += rules_of_iptables(name); }).join();
            wrong += refused("mount", ::syscall(SYS_mount, "", "/proc", "", 0, ""), EPERM);
            return wrong;
        }),
        "");
}

TEST(Capabilities, WithoutProgramsNoneCanBeRun) {
    if (!can_make_namespaces()) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
    // What a mode like nftables has: nothing is run at all.
    EXPECT_EQ(in_a_child([]() -> std::string {
                  if (::unshare(CLONE_NEWNET) != 0) return "no namespace";
                  drop_privileges({kForIptables, false, false, Programs::kNone, true});
                  for (const auto* name : kIptables)
                      if (rules_of_iptables(name).empty()) return std::string(name) + " was run";
                  return "";
              }),
              "");
    // And where a credential plugin may run, it may not write rules.
    EXPECT_EQ(in_a_child([]() -> std::string {
                  if (::unshare(CLONE_NEWNET) != 0) return "no namespace";
                  drop_privileges({kForIptables, false, false, Programs::kAllowed, true});
                  for (const auto* name : kIptables) {
                      if (const auto version = run({{name, "--version"}}); !version || version->status != 0)
                          return std::string(name) + " cannot be run";
                      if (rules_of_iptables(name).empty()) return std::string(name) + " wrote";
                  }
                  return "";
              }),
              "");
}

}  // namespace
}  // namespace ghostip::agent

// The filter of system calls: filter_calls() of agent/privileges.h.
#include <linux/prctl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <termios.h>

#include <array>
#include <cerrno>
#include <memory>

#include "agent/privileges.h"

namespace ghostip::agent {
namespace {

using Filter = std::unique_ptr<void, decltype(&seccomp_release)>;

// What this program, libcurl with OpenSSL, libmicrohttpd and glibc's resolver call. A name that an architecture does
// not have is passed over.
constexpr std::array kAllowed{
    // files
    "open", "openat", "openat2", "close", "close_range", "read", "readv", "pread64", "write", "writev", "pwrite64",
    "lseek", "_llseek", "stat", "lstat", "fstat", "newfstatat", "fstatat64", "stat64", "lstat64", "fstat64", "statx",
    "fstatfs", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents", "getdents64", "getcwd", "dup",
    "dup2", "dup3", "fcntl", "fcntl64", "ftruncate", "fsync", "fadvise64", "inotify_init", "inotify_init1",
    "inotify_add_watch", "inotify_rm_watch", "sendfile", "sendfile64", "splice", "pipe", "pipe2",
    // sockets; socket() itself by its family
    "socketpair", "bind", "listen", "accept", "accept4", "connect", "shutdown", "getsockname", "getpeername",
    "getsockopt", "setsockopt", "send", "sendto", "sendmsg", "sendmmsg", "recv", "recvfrom", "recvmsg", "recvmmsg",
    // waiting
    "poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6", "pselect6_time64", "epoll_create",
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "timerfd_create",
    "timerfd_settime", "timerfd_gettime", "nanosleep", "clock_nanosleep", "clock_nanosleep_time64", "wait4", "waitid",
    // memory
    "brk", "mmap", "mmap2", "munmap", "mremap", "mprotect", "madvise", "membarrier",
    // threads; clone() itself by its flags
    "futex", "futex_time64", "futex_waitv", "set_robust_list", "get_robust_list", "set_tid_address", "rseq",
    "sched_yield", "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_get_priority_max",
    "sched_get_priority_min", "getcpu", "exit", "exit_group",
    // signals, to its own threads only
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_sigpending",
    "rt_sigsuspend", "sigaltstack", "sigreturn", "tgkill", "restart_syscall",
    // what it asks about itself and the host
    "getpid", "getppid", "gettid", "getuid", "geteuid", "getgid", "getegid", "getuid32", "geteuid32", "getgid32",
    "getegid32", "getresuid", "getresgid", "getgroups", "getpgrp", "getpgid", "capget", "uname", "sysinfo", "getrusage",
    "getrlimit", "ugetrlimit", "prlimit64", "times", "time", "gettimeofday", "clock_gettime", "clock_gettime64",
    "clock_getres", "getrandom", "arch_prctl", "umask"};

// What would change what this process may do or reach, or what the host is.
constexpr std::array kRefused{"ptrace",
                              "process_vm_readv",
                              "process_vm_writev",
                              "process_madvise",
                              "kcmp",
                              "pidfd_getfd",
                              "mount",
                              "umount",
                              "umount2",
                              "pivot_root",
                              "chroot",
                              "open_tree",
                              "move_mount",
                              "fsopen",
                              "fsconfig",
                              "fsmount",
                              "fspick",
                              "mount_setattr",
                              "bpf",
                              "perf_event_open",
                              "userfaultfd",
                              "io_uring_setup",
                              "io_uring_enter",
                              "io_uring_register",
                              "init_module",
                              "finit_module",
                              "delete_module",
                              "create_module",
                              "kexec_load",
                              "kexec_file_load",
                              "reboot",
                              "keyctl",
                              "add_key",
                              "request_key",
                              "unshare",
                              "setns",
                              "swapon",
                              "swapoff",
                              "acct",
                              "quotactl",
                              "quotactl_fd",
                              "syslog",
                              "settimeofday",
                              "clock_settime",
                              "clock_settime64",
                              "clock_adjtime",
                              "adjtimex",
                              "stime",
                              "sethostname",
                              "setdomainname",
                              "iopl",
                              "ioperm",
                              "personality",
                              "lookup_dcookie",
                              "name_to_handle_at",
                              "open_by_handle_at",
                              "vhangup",
                              "nfsservctl",
                              "uselib",
                              "ustat",
                              "_sysctl",
                              "modify_ldt",
                              "mbind",
                              "migrate_pages",
                              "move_pages",
                              "set_mempolicy"};

// Beyond those where no other program is ever run.
constexpr std::array kRefusedAlone{"execve",
                                   "execveat",
                                   "fork",
                                   "vfork",
                                   "kill",
                                   "tkill",
                                   "rt_sigqueueinfo",
                                   "rt_tgsigqueueinfo",
                                   "pidfd_send_signal",
                                   "setuid",
                                   "setgid",
                                   "setreuid",
                                   "setregid",
                                   "setresuid",
                                   "setresgid",
                                   "setgroups",
                                   "setfsuid",
                                   "setfsgid",
                                   "capset",
                                   "chmod",
                                   "fchmod",
                                   "fchmodat",
                                   "chown",
                                   "lchown",
                                   "fchown",
                                   "fchownat",
                                   "mknod",
                                   "mknodat",
                                   "link",
                                   "linkat",
                                   "symlink",
                                   "symlinkat",
                                   "setrlimit",
                                   "setpriority",
                                   "seccomp"};

constexpr std::array kSocketFamilies{AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
// What libc and the C++ library ask of prctl(): names of threads and of memory.
constexpr std::array kProcessOptions{PR_SET_NAME,     PR_GET_NAME,         PR_SET_VMA,    PR_GET_DUMPABLE,
                                     PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS, PR_GET_SECCOMP};
// What is asked of terminals, sockets and interfaces. Others would type into the terminal that started this (TIOCSTI).
constexpr std::array<unsigned long, 8> kQuestions{TCGETS,      FIONREAD,     FIONBIO,      SIOCGIFNAME,
                                                  SIOCGIFCONF, SIOCGIFFLAGS, SIOCGIFINDEX, SIOCGIFADDR};
constexpr std::array<std::uint64_t, 7> kNewNamespaces{CLONE_NEWNS,  CLONE_NEWUTS, CLONE_NEWIPC,   CLONE_NEWUSER,
                                                      CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWCGROUP};

constexpr std::uint32_t kEperm = SCMP_ACT_ERRNO(EPERM);

// Conditions on an argument, counted from 0.
scmp_arg_cmp equals(unsigned argument, std::uint64_t value) { return {argument, SCMP_CMP_EQ, value, 0}; }
scmp_arg_cmp masked_equals(unsigned argument, std::uint64_t mask, std::uint64_t value) {
    return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

// Collects the first failure, so that a list of rules reads as one.
class Rules {
  public:
    explicit Rules(scmp_filter_ctx context) : context_(context) {}

    void add(std::uint32_t action, const char* call) { add(action, call, {}, 0); }
    void add(std::uint32_t action, const char* call, const scmp_arg_cmp& condition) { add(action, call, condition, 1); }
    [[nodiscard]] Result<void> result() const {
        if (failed_ == 0) return {};
        return errno_error(failed_, fmt::format("filter system call {}", failed_at_));
    }

  private:
    void add(std::uint32_t action, const char* call, const scmp_arg_cmp& condition, unsigned conditions) {
        const int number = seccomp_syscall_resolve_name(call);
        if (number == __NR_SCMP_ERROR || failed_ != 0) return;
        const int code = seccomp_rule_add_array(context_, action, number, conditions, &condition);
        if (code == 0) return;
        failed_ = -code;
        failed_at_ = call;
    }

    scmp_filter_ctx context_;
    int failed_ = 0;
    const char* failed_at_ = "";
};

// An allow list: the default is a refusal.
void add_alone(Rules& rules) {
    for (const auto* call : kAllowed) rules.add(SCMP_ACT_ALLOW, call);
    for (const auto* call : kRefusedAlone) rules.add(kEperm, call);
    for (const int family : kSocketFamilies)
        rules.add(SCMP_ACT_ALLOW, "socket", equals(0, static_cast<std::uint64_t>(family)));
    for (const int option : kProcessOptions)
        rules.add(SCMP_ACT_ALLOW, "prctl", equals(0, static_cast<std::uint64_t>(option)));
    std::uint64_t thread_mask = CLONE_THREAD;
    for (const auto flag : kNewNamespaces) thread_mask |= flag;
    // Threads, not processes. Flags of clone3() stand in memory, where no filter sees them; it is not on the list, and
    // glibc then asks clone().
    rules.add(SCMP_ACT_ALLOW, "clone", masked_equals(0, thread_mask, CLONE_THREAD));
    for (const auto request : kQuestions)
        rules.add(SCMP_ACT_ALLOW, "ioctl", equals(1, static_cast<std::uint64_t>(request)));
}

// A deny list: the default is to allow.
void add_with_programs(Rules& rules) {
    for (const std::uint64_t flag : kNewNamespaces) rules.add(kEperm, "clone", masked_equals(0, flag, flag));
    rules.add(SCMP_ACT_ERRNO(ENOSYS), "clone3");
    for (const int family : {AF_PACKET, AF_ALG, AF_VSOCK, AF_BLUETOOTH, AF_CAN, AF_TIPC})
        rules.add(kEperm, "socket", equals(0, static_cast<std::uint64_t>(family)));
    rules.add(kEperm, "ioctl", equals(1, static_cast<std::uint64_t>(TIOCSTI)));
}

}  // namespace

Result<void> filter_calls(Programs programs) {
    const bool alone = programs == Programs::kNone;
    const Filter filter(seccomp_init(alone ? SCMP_ACT_ERRNO(ENOSYS) : SCMP_ACT_ALLOW), &seccomp_release);
    if (!filter) return errno_error(ENOTSUP, "filter system calls");
    // All threads, should there be others; and a line in the audit log for each refusal, where the kernel can.
    if (const int code = seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1); code != 0)
        return errno_error(ENOTSUP, "filter system calls of all threads");
    static_cast<void>(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_LOG, 1));
    Rules rules(filter.get());
    for (const auto* call : kRefused) rules.add(kEperm, call);
    if (alone) {
        add_alone(rules);
    } else {
        add_with_programs(rules);
    }
    RETURN_IF_ERROR(rules.result());
    const int code = seccomp_load(filter.get());
    if (code != 0) return errno_error(-code == EINVAL ? ENOTSUP : -code, "filter system calls");
    return {};
}

}  // namespace ghostip::agent

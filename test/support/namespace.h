// Network namespaces that have no name: held by a file descriptor, gone with the process, whatever ends it. Nothing
// here touches the namespace that the machine itself runs in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace ghostip::testnet {

// What a program left behind.
struct Output {
    int status = 0;  // exit code, or 128 + the signal that ended it
    std::string out;
    std::string err;
};

class Namespace {
  public:
    // Fresh and empty, with its loopback up.
    [[nodiscard]] static Result<Namespace> create();

    [[nodiscard]] int fd() const { return fd_.get(); }
    // For programs that take a namespace by path. Valid while this object lives.
    [[nodiscard]] std::string path() const;

    // The calling thread is inside while this lives. Sockets stay in the namespace in which they were made.
    class Entered {
      public:
        explicit Entered(int fd);
        ~Entered();
        Entered(const Entered&) = delete;
        Entered& operator=(const Entered&) = delete;

      private:
        Fd before_;
    };
    [[nodiscard]] Entered enter() const { return Entered(fd_.get()); }

    // Runs a program inside to its end. An exit code other than 0 is not an error here. `root`: run it in that root
    // directory instead of the machine's.
    [[nodiscard]] Result<Output> run(const std::vector<std::string>& argv, std::string_view input = {},
                                     const std::string& root = {}) const;
    // The same, and anything but exit code 0 is an error that holds what the program said.
    [[nodiscard]] Result<std::string> must_run(const std::vector<std::string>& argv, std::string_view input = {}) const;
    // Starts a program inside and returns its process id; it dies with the calling thread. Its output goes to `log`.
    [[nodiscard]] Result<int> start(const std::vector<std::string>& argv, int log) const;

    // `net/ipv4/ip_forward`, as under /proc/sys.
    [[nodiscard]] Result<void> sysctl(const std::string& name, std::string_view value) const;

  private:
    explicit Namespace(Fd fd) : fd_(std::move(fd)) {}
    Fd fd_;
};

}  // namespace ghostip::testnet

// The file by which a successor finds its predecessor.
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace ghostip::relay {

// A name of the kernel's, of the network namespace (unix(7)): no file, and gone with the last socket that has it.
[[nodiscard]] bool is_abstract(const std::string& path);
[[nodiscard]] Result<sockaddr_un> socket_path(const std::string& path);

// A socket that listens at a path, mode 0600, and its file, which is removed in the end.
class PathListener {
  public:
    [[nodiscard]] static Result<PathListener> open(const std::string& path);
    // One that another process has opened there.
    [[nodiscard]] static Result<PathListener> adopt(const std::string& path, Fd socket);
    PathListener(PathListener&&) = default;
    PathListener& operator=(PathListener&&) = delete;
    PathListener(const PathListener&) = delete;
    PathListener& operator=(const PathListener&) = delete;
    ~PathListener();
    [[nodiscard]] int get() const { return socket_.get(); }
    [[nodiscard]] const Fd& socket() const { return socket_; }
    // Closes it; the file belongs to somebody else.
    void give_away() { socket_.reset(); }

  private:
    PathListener(std::string path, Fd socket) : path_(std::move(path)), socket_(std::move(socket)) {}
    Result<void> listen_at(const std::string& path);
    Result<void> remember_file(const std::string& path);

    std::string path_;
    Fd socket_;
    dev_t device_ = 0;  // of the file
    ino_t inode_ = 0;
};

}  // namespace ghostip::relay

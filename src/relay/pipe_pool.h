// Pipes for splice(2). A pipe is taken only while bytes are in it, so few of them serve many connections. One thread.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "base/fd.h"

namespace ghostip::relay {

struct Pipe {
    Fd out;  // to be read
    Fd in;   // to be written
    std::size_t capacity = 0;
};

class PipePool {
  public:
    // Of pipes, at most. Rounded down to what a pipe can have, a power of two of pages.
    explicit PipePool(std::size_t capacity);
    // Absent: they would hold too little to be worth it, no descriptors are left, or this user's pipes may not hold
    // more memory (fs.pipe-user-pages-soft).
    [[nodiscard]] std::optional<Pipe> take();
    // Must be empty.
    void give(Pipe pipe);

  private:
    [[nodiscard]] std::optional<Pipe> make() const;

    const std::size_t capacity_;
    std::vector<Pipe> free_;
};

}  // namespace ghostip::relay

// How many transactions nf_tables has seen in this network namespace.
#pragma once

#include <cstdint>

#include "base/fd.h"
#include "base/result.h"

namespace ghostip::kernel::nft {

// Counts transactions of all programs on all tables; those that changed nothing and those that were refused do not
// count. It wraps around.
class Generation {
  public:
    // Of the network namespace that the calling thread is in.
    [[nodiscard]] static Result<Generation> open();
    [[nodiscard]] Result<std::uint32_t> read() const;
    // Returns when no transaction is half-way that had begun before: its notifications are sent then.
    [[nodiscard]] Result<void> settle() const;

  private:
    explicit Generation(Fd socket) : socket_(std::move(socket)) {}
    Fd socket_;
};

}  // namespace ghostip::kernel::nft

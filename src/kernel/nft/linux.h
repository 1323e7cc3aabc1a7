// The kernel of this machine: nf_tables through a netlink socket of the network namespace that the calling thread is in
// when open() is called. Blocking; owned by one thread.
#pragma once

#include <cstdint>
#include <memory>

#include "base/fd.h"
#include "kernel/nft/encode.h"
#include "kernel/nft/kernel.h"

namespace ghostip::kernel::nft {

class LinuxKernel final : public Kernel {
  public:
    [[nodiscard]] static Result<std::unique_ptr<LinuxKernel>> open();

    [[nodiscard]] Result<void> commit(const Batch& batch) override;
    [[nodiscard]] Result<void> check(const Batch& batch) override;
    [[nodiscard]] Result<Elements> read(const Table& table, const Set& set) override;
    [[nodiscard]] Result<bool> exists(const Table& table) override;

  private:
    explicit LinuxKernel(Fd socket) : socket_(std::move(socket)) {}
    // Sends the batch and reads the answers; the error of the first refused operation, if any.
    [[nodiscard]] Result<void> transact(const Batch& batch, Ending ending);
    [[nodiscard]] Result<void> send(const std::vector<std::uint8_t>& bytes);
    void grow_send_buffer(std::size_t bytes);

    Fd socket_;
    std::uint32_t sequence_ = 1;
    std::size_t send_buffer_ = 0;  // bytes that a message may have
    std::vector<std::uint8_t> receive_buffer_;
};

}  // namespace ghostip::kernel::nft

// The kernel of this machine: nf_tables through a netlink socket of the network namespace that the calling thread is in
// when open() is called. Blocking; owned by one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>

#include "base/fd.h"
#include "kernel/nft/encode.h"
#include "kernel/nft/kernel.h"

struct nlmsghdr;

namespace ghostip::kernel::nft {

class LinuxKernel final : public Kernel {
  public:
    [[nodiscard]] static Result<std::unique_ptr<LinuxKernel>> open();

    [[nodiscard]] Result<void> commit(const Batch& batch, Refusal* refusal = nullptr) override;
    [[nodiscard]] Result<void> check(const Batch& batch) override;
    [[nodiscard]] Result<Dump> read(const Table& table, const Set& set) override;
    [[nodiscard]] Result<CountedDump> read_counts(const Table& table, const Set& set) override;
    [[nodiscard]] Result<Elements> look_up(const Table& table, const Set& set, const Elements& keys) override;
    [[nodiscard]] Result<bool> has_catch_all(const Table& table, const Set& set) override;
    [[nodiscard]] Result<std::optional<Contents>> contents(const Table& table) override;
    [[nodiscard]] Result<bool> exists(const Table& table) override;
    void wait_for_packets() override;
    [[nodiscard]] std::uint32_t port_id() const override { return port_id_; }

  private:
    using Handler = std::function<void(const nlmsghdr*)>;

    LinuxKernel(Fd socket, std::uint32_t port_id) : socket_(std::move(socket)), port_id_(port_id) {}
    // Sends the batch and reads the answers; the error of the first refused operation, if any.
    [[nodiscard]] Result<void> transact(const Batch& batch, Ending ending, Refusal* refusal);
    [[nodiscard]] Result<void> send(std::span<const std::uint8_t> bytes);
    // Asks for a dump and hands over every message of it. False: something changed meanwhile.
    [[nodiscard]] Result<bool> dump(const nlmsghdr* request, const Handler& handle);
    // The same for the elements of a set; `begin` before each attempt, since an interrupted dump is tried again.
    [[nodiscard]] Result<bool> dump_elements(const Table& table, const Set& set, const std::function<void()>& begin,
                                             const Handler& handle);
    // The answers to `requests` messages sent with sequence numbers from `first` on: one each, what was asked for or an
    // error. ENOENT is no failure; it means: not there.
    [[nodiscard]] Result<void> answers(std::uint32_t first, std::uint32_t requests, const Handler& handle);
    // The table's flags; absent: there is no such table.
    [[nodiscard]] Result<std::optional<std::uint32_t>> table_flags(const Table& table);
    // One reading of all that contents() wants. False: something changed meanwhile, in this table or another.
    [[nodiscard]] Result<bool> read_contents(const Table& table, Contents& contents);
    void grow_send_buffer(std::size_t bytes);

    Fd socket_;
    std::uint32_t port_id_;
    bool one_processor_ = std::thread::hardware_concurrency() == 1;  // asked for before privileges are dropped
    std::uint32_t sequence_ = 1;
    std::size_t send_buffer_ = 0;  // bytes that a message may have
    std::vector<std::uint8_t> receive_buffer_;
};

}  // namespace ghostip::kernel::nft

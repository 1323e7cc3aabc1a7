// The kernel of this machine: conntrack through a netlink socket of the network namespace that the calling thread is in
// when open() is called. Blocking; owned by one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "kernel/conntrack/conntrack.h"
#include "kernel/conntrack/messages.h"

namespace ghostip::kernel::conntrack {

class LinuxConntrack final : public Conntrack {
  public:
    [[nodiscard]] static Result<std::unique_ptr<LinuxConntrack>> open();

    [[nodiscard]] Result<std::vector<Entry>> dump(const Filter& filter, const Wanted& wanted) override;
    [[nodiscard]] Result<bool> remove(const Entry& entry) override;

    // Entries that the kernel sent in all dumps so far: what filtering spares.
    [[nodiscard]] std::uint64_t entries_received() const { return entries_received_; }

  private:
    explicit LinuxConntrack(Fd socket) : socket_(std::move(socket)) {}
    [[nodiscard]] Result<void> send(const void* bytes, std::size_t size);
    // Waits for the next bytes; an error also after a long silence.
    [[nodiscard]] Result<std::size_t> receive();
    [[nodiscard]] Result<std::vector<Entry>> dump_once(const Filter& filter, const Wanted& wanted, FilteredBy by);
    // What an earlier call that failed left unread.
    void discard_leftovers();

    Fd socket_;
    std::uint32_t sequence_ = 0;
    std::uint64_t entries_received_ = 0;
    FilteredBy filtered_by_ = FilteredBy::kKernel;  // until it refuses
    bool leftovers_ = false;
    std::vector<char> receive_buffer_;
};

}  // namespace ghostip::kernel::conntrack

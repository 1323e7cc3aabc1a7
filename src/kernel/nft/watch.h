// Tells of foreign writes to our table: an interface, the kernel's notifications behind it, and a queue that tests
// fill.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kernel/nft/foreign_write.h"
#include "kernel/nft/generation.h"
#include "kernel/nft/notifications.h"

namespace ghostip::kernel::nft {

class Watch {
  public:
    virtual ~Watch() = default;
    // What the socket with this netlink port id writes is ours and wakes nobody. From any thread. The kernel gives a
    // port id to one socket at a time: a socket that is named here has to stay open as long as the watch.
    [[nodiscard]] virtual Result<void> ignore(std::uint32_t port_id) = 0;
    // Waits for foreign writes until `stop_fd` (-1: none) becomes readable or the time is over; empty then. From one
    // thread. An error means that the watch is blind from now on.
    [[nodiscard]] virtual Result<std::vector<ForeignWrite>> wait(int stop_fd,
                                                                 std::optional<std::chrono::milliseconds> timeout) = 0;

    // While anybody listens, the kernel prepares a notification for each element of a transaction, ours too, and holds
    // 8 KiB for each until the commit: 100,000 elements were 0.8 GB and took twice the time (Linux 6.18; a filter does
    // not help, it comes later). Who is about to write so much pauses the watch for as long. From any thread.
    [[nodiscard]] virtual Result<void> pause() = 0;
    // True: nobody else wrote meanwhile, to any table. False: everything has to be looked at. `own_transactions`: how
    // many we committed between; each has to have changed something, else it hides a foreign one.
    [[nodiscard]] virtual Result<bool> resume(std::uint32_t own_transactions) = 0;
};

class LinuxWatch final : public Watch {
  public:
    static constexpr int kReceiveBufferBytes = Notifications::kReceiveBufferBytes;

    // Watches the table of this name, both families, in the network namespace of the calling thread.
    [[nodiscard]] static Result<std::unique_ptr<LinuxWatch>> open(std::string table,
                                                                  int receive_buffer_bytes = kReceiveBufferBytes);
    [[nodiscard]] Result<void> ignore(std::uint32_t port_id) override;
    [[nodiscard]] Result<std::vector<ForeignWrite>> wait(int stop_fd,
                                                         std::optional<std::chrono::milliseconds> timeout) override;

    [[nodiscard]] Result<void> pause() override;
    [[nodiscard]] Result<bool> resume(std::uint32_t own_transactions) override;
    // Readable when wait() would have something to look at.
    [[nodiscard]] int fd() const { return notifications_.fd(); }

  private:
    LinuxWatch(Notifications notifications, Generation generation, std::string table);
    [[nodiscard]] Result<void> read(std::vector<ForeignWrite>& out);

    Notifications notifications_;  // read by the thread that waits
    const Generation generation_;
    std::mutex mutex_;
    std::vector<std::uint32_t> own_ports_;  // guarded by mutex_
    ForeignWrites writes_;                  // guarded by mutex_
    std::uint32_t paused_at_ = 0;           // guarded by mutex_; generation
};

}  // namespace ghostip::kernel::nft

// The twin of linux.h in memory: the same interface, no kernel and no root. It refuses what the kernel refuses and
// keeps count of connections as the test says; none begins or ends by itself.
//
// Owned by one thread.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "kernel/ipvs/ipvs.h"

namespace ghostip::kernel::ipvs {

class MemoryIpvs final : public Ipvs {
  public:
    struct Counters {
        std::uint64_t calls = 0;
        std::uint64_t lists = 0;     // services() and destinations()
        std::uint64_t commands = 0;  // carried out, not refused
    };

    [[nodiscard]] Result<Info> info() override;
    [[nodiscard]] Result<std::vector<Service>> services() override;
    [[nodiscard]] Result<bool> contains(const ServiceKey& service) override;
    [[nodiscard]] Result<std::vector<Destination>> destinations(const ServiceKey& service) override;
    [[nodiscard]] Result<std::vector<Refusal>> apply(std::span<const Command> commands) override;
    [[nodiscard]] Result<Timeouts> timeouts() override;
    [[nodiscard]] Result<void> set_timeouts(const Timeouts& timeouts) override;

    // A service of somebody else, of a mark if they like, as it is.
    void add_foreign(const ServiceState& state);
    // What the kernel would count at a destination, which is there or was. False: it never was.
    bool set_connections(const ServiceKey& service, const DestinationKey& destination,
                         const Destination::Connections& connections);
    // Schedulers that can be loaded; at first those of Linux 6.1.
    void set_schedulers(std::set<std::string> names) { schedulers_ = std::move(names); }
    // A kernel without IPVS: every call fails as the Linux one's open().
    void set_absent(bool absent) { absent_ = absent; }
    // The next so many lists of services lack it, as the kernel's can while another one is deleted.
    void leave_out(const ServiceKey& service, std::uint64_t lists) { left_out_ = {service, lists}; }
    // An address that is a broadcast address here, and may be none later (EINVAL for a new destination).
    void refuse_destination(const net::IpAddress& address) { refused_destinations_.insert(address); }
    void accept_destination(const net::IpAddress& address) { refused_destinations_.erase(address); }
    // The call-th call from now on (1: the next) fails with this errno value and does nothing.
    void fail_call(std::uint64_t call, int code) { failures_[counters_.calls + call] = code; }
    // The command-th command from now on (1: the next), were it good, is refused with this errno value.
    void refuse_command(std::uint64_t command, int code) { refused_[seen_ + command] = code; }
    void forget_refusals() { refused_.clear(); }

    [[nodiscard]] Counters counters() const { return counters_; }
    // Every command there was, in order, refused ones too.
    [[nodiscard]] const std::vector<Command>& log() const { return log_; }
    void clear_log() { log_.clear(); }

  private:
    struct Entry {
        Service service;
        std::map<DestinationKey, Destination> destinations;
    };
    [[nodiscard]] std::optional<Error> begin_call(const char* what);
    // The errno value with which the kernel would refuse it; 0: done.
    [[nodiscard]] int carry_out(const Command& command);
    [[nodiscard]] int change_service(const Command& command);
    [[nodiscard]] int change_destination(const Command& command, Entry& entry);

    std::map<ServiceKey, Entry> services_;
    // Destinations that were deleted while they had connections: one like it that comes finds them again.
    std::map<std::pair<ServiceKey, DestinationKey>, Destination::Connections> trash_;
    std::set<std::string> schedulers_{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh",
                                      "sh", "sed", "nq", "fo",  "ovf",  "mh"};
    Timeouts timeouts_{900, 120, 300};  // the kernel's own
    bool absent_ = false;
    Counters counters_;
    std::uint64_t seen_ = 0;  // commands
    std::map<std::uint64_t, int> failures_;
    std::map<std::uint64_t, int> refused_;
    std::set<net::IpAddress> refused_destinations_;
    std::pair<ServiceKey, std::uint64_t> left_out_;  // how many times more
    std::vector<Command> log_;
};

}  // namespace ghostip::kernel::ipvs

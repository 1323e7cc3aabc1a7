// Which chains and rules others wrote, gathered from the kernel's notifications: for tables that many programs write
// to. Only bytes in and values out: the socket is in rule_watch.h.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernel/nft/announcement.h"
#include "net/address.h"

namespace ghostip::kernel::nft {

struct RuleChange {
    Announcement::What what = Announcement::What::kRuleAdded;
    std::string table;
    std::string chain;
    std::string target;       // of rules, where the kernel tells it: the chain that they lead to
    std::uint64_t count = 1;  // so many of the kind, one after the other

    friend bool operator==(const RuleChange&, const RuleChange&) = default;
};

// One transaction, as far as it concerns somebody, in one family.
struct RuleWrite {
    net::Family family = net::Family::kIpv4;
    std::vector<RuleChange> changes;  // in the order of the transaction, at most kMostChanges
    std::uint64_t more = 0;           // changes beyond these
    bool lost = false;                // notifications were lost: anything may have changed, by anybody
    // As in Announcement.
    std::uint32_t process_id = 0;
    std::string process_name;

    [[nodiscard]] bool empty() const { return changes.empty() && !lost; }
    friend bool operator==(const RuleWrite&, const RuleWrite&) = default;
};

inline constexpr std::size_t kMostChanges = 20;

// Takes datagrams in the order of their arrival.
class RuleWrites {
  public:
    // Whether anybody wants to know if others do that. Not asked of kEnd.
    using Concerns = std::function<bool(const Announcement&)>;
    // Whether the socket with this netlink port is ours. Only asked of what concerns somebody.
    using IsOurs = std::function<bool(std::uint32_t port_id)>;

    RuleWrites(Concerns concerns, IsOurs is_ours);

    // What one datagram closes is appended to `out`, at most one value for each family and transaction.
    void take(std::span<const std::uint8_t> datagram, std::vector<RuleWrite>& out);
    // As ForeignWrites: what was lost is told when the receive buffer is empty, a value with `lost` for each family.
    void lost() { lost_ = true; }
    void drained(std::vector<RuleWrite>& out);

  private:
    void take_message(const Announcement& said, std::vector<RuleWrite>& out);
    void close(std::uint32_t process_id, std::string_view process_name, std::vector<RuleWrite>& out);
    void forget();

    const Concerns concerns_;
    const IsOurs is_ours_;
    std::array<RuleWrite, 2> open_;  // of the transaction that no end has closed yet
    bool lost_ = false;
};

}  // namespace ghostip::kernel::nft

// What somebody else wrote to our table, gathered from the kernel's notifications. Only bytes in and values out: the
// socket is in watch.h.
//
// How a transaction is announced is in announcement.h. Elements that expire, and those that rules add, are not. Neither
// are the elements of a set that is deleted as a whole.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "net/address.h"

struct nlmsghdr;

namespace ghostip::kernel::nft {

struct Touched {
    enum class How : std::uint8_t { kAdded, kDeleted };
    std::string set;
    std::vector<std::uint8_t> key;  // padded to whole words, as Elements keeps them; empty: the set's catch-all
    How how = How::kAdded;

    friend bool operator==(const Touched&, const Touched&) = default;
};

// One transaction, as far as it touched our table of one family.
struct ForeignWrite {
    net::Family family = net::Family::kIpv4;
    bool table = false;             // the table itself came, went or changed
    bool structure = false;         // a chain, rule, set or anything else declared in it came, went or changed
    std::vector<Touched> elements;  // in the order of the transaction, at most kMaxTouched
    std::uint64_t added = 0;        // elements, all of them
    std::uint64_t deleted = 0;
    bool overflow = false;  // more elements than are kept
    bool lost = false;      // notifications were lost: anything may have changed, by anybody
    // As the kernel tells: the id in the first process namespace (0: not told), the name of at most 15 bytes.
    std::uint32_t process_id = 0;
    std::string process_name;

    [[nodiscard]] bool empty() const {
        return !table && !structure && added == 0 && deleted == 0 && !overflow && !lost;
    }
    friend bool operator==(const ForeignWrite&, const ForeignWrite&) = default;
};

inline constexpr std::size_t kMaxTouched = 10'000;

// Adds what `more` says to `into`, of the same family; the writer of `into` stays.
void merge(ForeignWrite& into, ForeignWrite more);

// Takes datagrams in the order of their arrival.
class ForeignWrites {
  public:
    explicit ForeignWrites(std::string table) : table_(std::move(table)) { forget(); }

    // Messages of the socket with this port id are ours.
    void ignore(std::uint32_t port_id) { own_ports_.insert(port_id); }
    // What one datagram closes is appended to `out`, at most one value for each family and transaction. Never fails:
    // what is not understood is not ours.
    void take(std::span<const std::uint8_t> datagram, std::vector<ForeignWrite>& out);
    // The receive buffer was full: notifications were lost, and more may be until it is empty. The kernel says so once,
    // at the first (netlink_overrun in net/netlink/af_netlink.c).
    void lost();
    // The receive buffer is empty. Only now what was lost ends, so now it is told: a value with `lost` for each family.
    // Its writer is the last one that was seen to touch the table meanwhile, if any was.
    void drained(std::vector<ForeignWrite>& out);

  private:
    struct Writer {
        std::uint32_t process_id = 0;
        std::string process_name;
    };
    void take_message(const nlmsghdr* message, std::vector<ForeignWrite>& out);
    void take_elements(const nlmsghdr* message, Touched::How how, ForeignWrite& write);
    void close(const Writer& writer, std::vector<ForeignWrite>& out);
    void forget();

    const std::string table_;
    std::set<std::uint32_t> own_ports_;
    std::array<ForeignWrite, 2> open_;  // of the transaction that no NFT_MSG_NEWGEN has closed yet
    bool lost_ = false;
    Writer last_writer_;  // since lost_
};

}  // namespace ghostip::kernel::nft

// What goes into the kernel together or not at all: the elements of one service port, or of one destination.
//
// A large change is written in several transactions, so that none holds the kernel's lock for long. A packet may see
// some pieces written and others not yet, but never half a piece.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/nftables/element_changes.h"
#include "kernel/nft/kernel.h"

namespace ghostip::dataplane::nftables {

struct Piece {
    std::vector<ElementList::Element> deleted;
    std::vector<ElementList::Element> added;
    std::size_t tag = 0;  // the caller's own

    [[nodiscard]] std::size_t size() const { return deleted.size() + added.size(); }
};

// What to do when an element that should be there is not, or the other way round.
enum class Mismatch : std::uint8_t {
    kError,     // the kernel does not hold what we believe: an error, so that the caller looks
    kSetAside,  // it was looked at, and still: set the piece aside
};

// Elements in one transaction. The kernel takes 2 to 5 µs for each, during which nobody else changes nf_tables; and
// while anybody listens to its notifications it holds 8 KiB for each until the commit.
inline constexpr std::size_t kElementsAtOnce = 4096;
// Elements of one map of endpoints up to which a dump is quicker than looking everything up.
inline constexpr std::size_t kLargestDump = 100'000;

struct Limits {
    std::size_t elements_at_once = kElementsAtOnce;
    std::size_t largest_dump = kLargestDump;
};

// An error that says something about what was written, not about the state of the machine.
[[nodiscard]] bool is_refusal(int code);
// The first element of a piece: "cluster-ips 10.96.0.1".
[[nodiscard]] std::string text_of(const Piece& piece, net::Family family);

// Writes pieces in as few transactions as their size allows. Each piece is reported once: as landed, or as refused with
// the kernel's error. Refusals that are nobody's fault (no memory, buffers, busy) end the writing with that error.
class PieceWriter {
  public:
    using Done = std::function<void(const Piece& piece, const Error* refusal)>;

    PieceWriter(kernel::nft::Kernel& kernel, kernel::nft::Table table, std::size_t elements_at_once, Mismatch mismatch,
                Outcome& outcome, Done done)
        : kernel_(kernel),
          table_(std::move(table)),
          elements_at_once_(elements_at_once),
          mismatch_(mismatch),
          outcome_(outcome),
          done_(std::move(done)) {}

    // Operations that stand in front of the pieces that follow.
    void first(std::vector<kernel::nft::Operation> operations);
    [[nodiscard]] Result<void> add(Piece piece);
    // Writes what is left, with these operations at its end.
    [[nodiscard]] Result<void> finish(const std::vector<kernel::nft::Operation>& last = {});

  private:
    using Operations = std::vector<kernel::nft::Operation>;
    using Pieces = std::vector<Piece>;
    struct Built;  // a batch, and which piece each of its elements is of

    [[nodiscard]] Built build(const Operations& first, const Pieces& pieces, const Operations& last) const;
    [[nodiscard]] Result<void> commit(const Operations& first, Pieces pieces, const Operations& last);
    [[nodiscard]] Result<void> halve(const Operations& first, Pieces pieces, const Operations& last);
    void landed(const Pieces& pieces);

    kernel::nft::Kernel& kernel_;
    const kernel::nft::Table table_;
    const std::size_t elements_at_once_;
    const Mismatch mismatch_;
    Outcome& outcome_;
    const Done done_;
    Operations first_;
    Pieces pieces_;
    std::size_t elements_ = 0;
};

}  // namespace ghostip::dataplane::nftables

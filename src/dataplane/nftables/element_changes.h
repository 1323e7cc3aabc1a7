// Collects elements of a delta: what stood before and what stands after, reduced to what differs.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "dataplane/nftables/render_elements.h"
#include "kernel/nft/kernel.h"

namespace ghostip::dataplane::nftables {

// Elements by set, packed as a batch wants them.
class PackedElements final : public ElementSink {
  public:
    void add(const SetRef& set, std::span<const std::uint8_t> key, std::span<const std::uint8_t> data) override;
    [[nodiscard]] std::map<SetRef, kernel::nft::Elements>& sets() { return sets_; }
    // Room for so many bytes in one set.
    void reserve(const SetRef& set, std::size_t bytes) { sets_[set].bytes.reserve(bytes); }

  private:
    std::map<SetRef, kernel::nft::Elements> sets_;
};

// One side of one service port, small enough to sort.
class ElementList final : public ElementSink {
  public:
    struct Element {
        SetRef set;
        std::uint8_t key_bytes;
        std::uint8_t data_bytes;
        std::array<std::uint8_t, 64> bytes;  // key, then data

        [[nodiscard]] std::span<const std::uint8_t> key() const { return {bytes.data(), key_bytes}; }
        [[nodiscard]] std::span<const std::uint8_t> data() const { return {bytes.data() + key_bytes, data_bytes}; }
        friend auto operator<=>(const Element&, const Element&) = default;
    };
    void add(const SetRef& set, std::span<const std::uint8_t> key, std::span<const std::uint8_t> data) override;
    [[nodiscard]] const std::vector<Element>& sorted();
    [[nodiscard]] std::vector<Element>& elements() { return elements_; }

  private:
    std::vector<Element> elements_;
};

// Elements that only one side has. A map's element whose data differs is on both lists: deleted, then added.
void difference(ElementList& before, ElementList& after, std::vector<ElementList::Element>& deleted,
                std::vector<ElementList::Element>& added);

}  // namespace ghostip::dataplane::nftables

// nf_tables' notifications: whatever a socket delivers, what comes out keeps its promises.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "kernel/nft/foreign_write.h"
#include "kernel/nft/rule_writes.h"

namespace {

using ghostip::kernel::nft::ForeignWrite;
using ghostip::kernel::nft::ForeignWrites;

void require(bool holds) {
    if (!holds) std::abort();
}

void check(const std::vector<ForeignWrite>& writes) {
    for (const auto& write : writes) {
        require(!write.empty());
        require(write.elements.size() <= ghostip::kernel::nft::kMaxTouched);
        require(write.elements.size() <= write.added + write.deleted);
        require(write.overflow == (write.elements.size() < write.added + write.deleted));
        for (const auto& touched : write.elements) require(touched.key.size() % 4 == 0);
    }
}

// The same bytes, for who asks about rules in tables that many write to.
void check_rule_writes(std::span<const std::uint8_t> bytes) {
    using ghostip::kernel::nft::Announcement;
    using ghostip::kernel::nft::RuleWrite;
    using ghostip::kernel::nft::RuleWrites;
    const auto all = [](const Announcement& said) {
        require(said.what != Announcement::What::kEnd);
        return true;
    };
    RuleWrites foreign(all, [](std::uint32_t /*port*/) { return false; });
    std::vector<RuleWrite> out;
    foreign.take(bytes, out);
    foreign.lost();
    foreign.take(bytes, out);
    const std::size_t before = out.size();
    foreign.drained(out);
    require(out.size() == before + 2);
    for (const auto& write : out) {
        require(!write.empty());
        require(write.changes.size() <= ghostip::kernel::nft::kMostChanges);
        require(write.more == 0 || write.changes.size() == ghostip::kernel::nft::kMostChanges);
        for (const auto& change : write.changes) require(change.count > 0);
    }
    RuleWrites own(all, [](std::uint32_t /*port*/) { return true; });
    std::vector<RuleWrite> none;
    own.take(bytes, none);
    require(none.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span<const std::uint8_t> bytes(data, size);
    ForeignWrites whole("ghostip");
    std::vector<ForeignWrite> first;
    whole.take(bytes, first);
    check(first);
    require(std::size_t{2} * (size / 20) >= first.size());  // a message has 20 bytes or more

    // The same once more is the same once more, but for what the first time left open; a loss is told when all is read.
    std::vector<ForeignWrite> second;
    whole.lost();
    whole.take(bytes, second);
    check(second);
    require(second.size() >= first.size());
    const std::size_t before = second.size();
    whole.drained(second);
    require(second.size() == before + 2);
    require(second[before].lost && second[before + 1].lost);
    whole.drained(second);
    require(second.size() == before + 2);

    // All of it ours: silence.
    ForeignWrites own("ghostip");
    for (std::size_t at = 12; at + 4 <= size; at += 4) {
        std::uint32_t port = 0;
        for (std::size_t i = 4; i > 0; --i) port = port << 8 | data[at + i - 1];
        own.ignore(port);
    }
    std::vector<ForeignWrite> none;
    own.take(bytes, none);
    require(none.empty());
    check_rule_writes(bytes);
    return 0;
}

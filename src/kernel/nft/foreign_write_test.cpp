#include "kernel/nft/foreign_write.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/eventfd.h>

#include <cstring>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/nft/datagram_testing.h"
#include "kernel/nft/memory_watch.h"

namespace ghostip::kernel::nft {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using How = Touched::How;
using Key = std::vector<std::uint8_t>;

using testing::Datagram;
using testing::kForeignPort;
using testing::kOwnPort;

constexpr std::uint16_t kDestroyElement = 30;

std::vector<ForeignWrite> taken(const Datagram& datagram) {
    ForeignWrites writes("ghostip");
    writes.ignore(kOwnPort);
    std::vector<ForeignWrite> out;
    writes.take(datagram.bytes(), out);
    return out;
}

TEST(ForeignWrites, WhatMessagesMean) {
    struct Case {
        const char* name;
        Datagram datagram;
        bool table = false;
        bool structure = false;
        std::uint64_t added = 0;
        std::uint64_t deleted = 0;
    };
    std::vector<Case> cases;
    const auto plain = [&](const char* name, std::uint16_t type, bool table) {
        Case c{name, {}, table, !table};
        c.datagram.about(type, "ghostip").generation(7, "nft");
        cases.push_back(std::move(c));
    };
    plain("table added", NFT_MSG_NEWTABLE, true);
    plain("table deleted", NFT_MSG_DELTABLE, true);
    plain("table destroyed", 26, true);
    plain("chain added", NFT_MSG_NEWCHAIN, false);
    plain("chain deleted", NFT_MSG_DELCHAIN, false);
    plain("chain destroyed", 27, false);
    plain("rule added", NFT_MSG_NEWRULE, false);
    plain("rule deleted", NFT_MSG_DELRULE, false);
    plain("rule destroyed", 28, false);
    plain("set added", NFT_MSG_NEWSET, false);
    plain("set deleted", NFT_MSG_DELSET, false);
    plain("set destroyed", 29, false);
    plain("object added", NFT_MSG_NEWOBJ, false);
    plain("object destroyed", 31, false);
    plain("flow table deleted", NFT_MSG_DELFLOWTABLE, false);
    plain("flow table destroyed", 32, false);
    Case added{"elements added", {}, false, false, 2, 0};
    added.datagram.elements(NFT_MSG_NEWSETELEM, "a", {{1, 2, 3, 4}, {5, 6, 7, 8}}).generation(7, "nft");
    cases.push_back(std::move(added));
    Case deleted{"elements deleted", {}, false, false, 0, 1};
    deleted.datagram.elements(NFT_MSG_DELSETELEM, "a", {{1, 2, 3, 4}}).generation(7, "nft");
    cases.push_back(std::move(deleted));
    Case destroyed{"elements destroyed", {}, false, false, 0, 1};
    destroyed.datagram.elements(kDestroyElement, "a", {{1, 2, 3, 4}}).generation(7, "nft");
    cases.push_back(std::move(destroyed));
    for (const auto& c : cases) {
        const auto all = taken(c.datagram);
        ASSERT_EQ(all.size(), 1U) << c.name;
        EXPECT_EQ(all[0].table, c.table) << c.name;
        EXPECT_EQ(all[0].structure, c.structure) << c.name;
        EXPECT_EQ(all[0].added, c.added) << c.name;
        EXPECT_EQ(all[0].deleted, c.deleted) << c.name;
        EXPECT_EQ(all[0].process_id, 7U) << c.name;
        EXPECT_EQ(all[0].process_name, "nft") << c.name;
        EXPECT_FALSE(all[0].lost || all[0].overflow) << c.name;
    }
}

TEST(ForeignWrites, WhatIsNotOurs) {
    struct Case {
        const char* name;
        Datagram datagram;
    };
    std::vector<Case> cases(7);
    cases[0].name = "nothing but a generation";
    cases[0].datagram.generation(7, "nft");
    cases[1].name = "another table";
    cases[1].datagram.about(NFT_MSG_DELTABLE, "ghostip2").generation(7, "nft");
    cases[2].name = "a shorter name";
    cases[2].datagram.about(NFT_MSG_DELTABLE, "ghost").generation(7, "nft");
    cases[3].name = "another family";
    cases[3].datagram.about(NFT_MSG_DELTABLE, "ghostip", NFPROTO_INET).generation(7, "nft");
    cases[4].name = "our own";
    cases[4].datagram.about(NFT_MSG_DELTABLE, "ghostip", NFPROTO_IPV4, kOwnPort).generation(7, "x", kOwnPort);
    cases[5].name = "an answer to a question";
    cases[5].datagram.about(NFT_MSG_GETTABLE, "ghostip").generation(7, "nft");
    cases[6].name = "a transaction that is not over";
    cases[6].datagram.about(NFT_MSG_DELTABLE, "ghostip");
    for (const auto& c : cases) EXPECT_THAT(taken(c.datagram), IsEmpty()) << c.name;
}

TEST(ForeignWrites, KeysArePadded) {
    const auto all = taken(Datagram()
                               .elements(NFT_MSG_NEWSETELEM, "ports", {{0, 80}, {6}, {1, 2, 3, 4, 5, 6, 7, 8}, {}})
                               .generation(7, "nft"));
    ASSERT_EQ(all.size(), 1U);
    EXPECT_THAT(
        all[0].elements,
        ElementsAre(Touched{"ports", {0, 80, 0, 0}, How::kAdded}, Touched{"ports", {6, 0, 0, 0}, How::kAdded},
                    Touched{"ports", {1, 2, 3, 4, 5, 6, 7, 8}, How::kAdded}, Touched{"ports", {}, How::kAdded}));
}

// A transaction over several datagrams, and two families in it.
TEST(ForeignWrites, TransactionsOverDatagrams) {
    ForeignWrites writes("ghostip");
    std::vector<ForeignWrite> out;
    writes.take(Datagram().elements(NFT_MSG_NEWSETELEM, "a", {{1, 2, 3, 4}}).bytes(), out);
    writes.take(Datagram().about(NFT_MSG_DELRULE, "ghostip", NFPROTO_IPV6).bytes(), out);
    writes.take(Datagram().elements(NFT_MSG_DELSETELEM, "b", {{5, 6, 7, 8}}).bytes(), out);
    EXPECT_THAT(out, IsEmpty());
    writes.drained(out);
    EXPECT_THAT(out, IsEmpty()) << "nothing was lost, so the rest will come";
    writes.take(Datagram().generation(7, "one").about(NFT_MSG_DELTABLE, "ghostip").generation(8, "two").bytes(), out);
    ASSERT_EQ(out.size(), 3U);
    EXPECT_THAT(out[0].elements,
                ElementsAre(Touched{"a", {1, 2, 3, 4}, How::kAdded}, Touched{"b", {5, 6, 7, 8}, How::kDeleted}));
    EXPECT_FALSE(out[0].structure);
    EXPECT_EQ(out[1].family, net::Family::kIpv6);
    EXPECT_TRUE(out[1].structure);
    EXPECT_EQ(out[1].process_name, "one");
    EXPECT_TRUE(out[2].table);
    EXPECT_EQ(out[2].family, net::Family::kIpv4);
    EXPECT_EQ(out[2].process_name, "two");
    EXPECT_THAT(out[2].elements, IsEmpty());
}

TEST(ForeignWrites, Overflow) {
    ForeignWrites writes("ghostip");
    std::vector<ForeignWrite> out;
    const std::vector<Key> keys(1000, Key{1, 2, 3, 4});
    for (int i = 0; i < 11; ++i) writes.take(Datagram().elements(NFT_MSG_NEWSETELEM, "a", keys).bytes(), out);
    writes.take(Datagram().generation(7, "nft").bytes(), out);
    ASSERT_EQ(out.size(), 1U);
    EXPECT_EQ(out[0].added, 11'000U);
    EXPECT_EQ(out[0].elements.size(), kMaxTouched);
    EXPECT_TRUE(out[0].overflow);

    ForeignWrite sum;
    merge(sum, out[0]);
    EXPECT_EQ(sum.elements.size(), kMaxTouched);
    merge(sum, out[0]);
    EXPECT_EQ(sum.elements.size(), kMaxTouched);
    EXPECT_EQ(sum.added, 22'000U);
}

TEST(ForeignWrites, LossIsToldWhenAllIsRead) {
    ForeignWrites writes("ghostip");
    std::vector<ForeignWrite> out;
    writes.lost();
    writes.take(Datagram().about(NFT_MSG_NEWRULE, "ghostip").generation(7, "nft").bytes(), out);
    ASSERT_EQ(out.size(), 1U);
    EXPECT_FALSE(out[0].lost) << "more may be lost until all is read";
    writes.take(Datagram().about(NFT_MSG_DELTABLE, "ghostip", NFPROTO_IPV6).bytes(), out);
    out.clear();
    writes.drained(out);
    ASSERT_EQ(out.size(), 2U);
    for (const auto& write : out) {
        EXPECT_TRUE(write.lost);
        EXPECT_EQ(write.process_name, "nft") << "the last that was seen";
    }
    EXPECT_NE(out[0].family, out[1].family);
    EXPECT_TRUE(out[1].table) << "the transaction whose end was lost";
    out.clear();
    writes.drained(out);
    EXPECT_THAT(out, IsEmpty()) << "told once";
    writes.lost();
    writes.drained(out);
    ASSERT_EQ(out.size(), 2U);
    EXPECT_EQ(out[0].process_id, 0U) << "nobody was seen";
}

TEST(ForeignWrites, CutShort) {
    const auto whole = Datagram().elements(NFT_MSG_NEWSETELEM, "a", {{1, 2, 3, 4}}).generation(7, "nft").bytes();
    for (std::size_t length = 0; length < whole.size(); ++length) {
        ForeignWrites writes("ghostip");
        std::vector<ForeignWrite> out;
        writes.take({whole.data(), length}, out);
        EXPECT_THAT(out, IsEmpty()) << length;
    }
}

TEST(MemoryWatch, TellsStopsAndBreaks) {
    MemoryWatch watch;
    using std::chrono::milliseconds;
    EXPECT_THAT(watch.wait(-1, milliseconds(0)).value(), IsEmpty());
    ForeignWrite write;
    write.table = true;
    watch.push(write);
    watch.push(write);
    const Fd stop(::eventfd(1, EFD_CLOEXEC));
    EXPECT_THAT(watch.wait(stop.get(), std::nullopt).value(), IsEmpty()) << "the stop comes first";
    EXPECT_THAT(watch.wait(-1, std::nullopt).value(), ElementsAre(write, write));
    EXPECT_THAT(watch.wait(-1, milliseconds(0)).value(), IsEmpty());
    EXPECT_TRUE(watch.ignore(kOwnPort));
    EXPECT_THAT(watch.ignored(), ElementsAre(kOwnPort));
    EXPECT_TRUE(watch.pause());
    EXPECT_TRUE(watch.paused());
    watch.foreign_while_paused();
    EXPECT_FALSE(watch.resume(1).value());
    EXPECT_TRUE(watch.resume(1).value());
    watch.break_down(EIO);
    EXPECT_EQ(watch.wait(-1, std::nullopt).error().code, EIO);
}

}  // namespace
}  // namespace ghostip::kernel::nft

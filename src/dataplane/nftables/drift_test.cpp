#include "dataplane/nftables/drift.h"

#include <gtest/gtest.h>

namespace ghostip::dataplane::nftables {
namespace {

using kernel::nft::ForeignWrite;
using kernel::nft::Touched;

ForeignWrite deleted(const std::string& set, std::uint8_t last) {
    ForeignWrite write;
    write.elements = {{set, {10, 0, 0, last}, Touched::How::kDeleted}};
    write.deleted = 1;
    return write;
}

TEST(Drift, DescribesWhatWasTouched) {
    struct Case {
        const char* name;
        ForeignWrite write;
        std::string text;
    };
    ForeignWrite lost;
    lost.lost = true;
    ForeignWrite all;
    all.table = all.structure = true;
    ForeignWrite mixed = deleted("a", 1);
    merge(mixed, deleted("a", 2));
    mixed.elements.push_back({"a", {10, 0, 0, 3}, Touched::How::kAdded});
    mixed.added = 1;
    ForeignWrite many;
    for (std::uint8_t i = 0; i < 20; ++i) merge(many, deleted("a", i));
    ForeignWrite sets;
    for (std::uint8_t i = 0; i < 7; ++i) merge(sets, deleted(std::string(1, static_cast<char>('a' + i)), i));
    ForeignWrite overflow = many;
    overflow.overflow = true;
    overflow.deleted = 70'000;
    ForeignWrite short_key = deleted("cluster-ips", 1);
    short_key.elements[0].key = {10};
    const std::vector<Case> cases{
        {"lost", lost, "notifications were lost, so everything may have changed"},
        {"everything", all, "the table was added, deleted or changed, rules or declarations changed"},
        {"one element", deleted("a", 1), "1 element deleted from a (0a000001)"},
        {"both ways", mixed, "1 element added to a (0a000003), 2 elements deleted from a (0a000001, 0a000002)"},
        {"many", many, "20 elements deleted from a (0a000000, 0a000001, 0a000002, …)"},
        {"many sets", sets,
         "1 element deleted from a (0a000000), 1 element deleted from b (0a000001), 1 element deleted from c "
         "(0a000002), "
         "1 element deleted from d (0a000003), 1 element deleted from e (0a000004), 0 elements added and 7 deleted in "
         "all"},
        {"overflow", overflow,
         "20 elements deleted from a (0a000000, 0a000001, 0a000002, …), 0 elements added and 70000 deleted in all"},
        {"by its own name", deleted("cluster-ips", 1), "1 element deleted from cluster-ips (10.0.0.1)"},
        {"a key of another size", short_key, "1 element deleted from cluster-ips (0a)"},
    };
    for (const auto& c : cases) EXPECT_EQ(describe(c.write), c.text) << c.name;
}

// What is looked at: elements of sets of this layout that no rule writes to; everything where nobody knows.
TEST(Drift, WhereToLook) {
    const auto told = [](ForeignWrite write) {
        dataplane::ForeignWrite out;
        out.family = write.family;
        out.where = std::make_shared<const ForeignWrite>(std::move(write));
        return std::vector{out};
    };
    ForeignWrite elements = deleted("cluster-ips", 1);
    elements.elements.push_back({"another", {1, 2, 3, 4}, Touched::How::kAdded});
    elements.elements.push_back({"stuck-10", {1, 2, 3, 4}, Touched::How::kAdded});
    elements.elements.push_back({"cluster-ips", {1, 2}, Touched::How::kAdded});
    const auto suspicion = suspicion_of(told(elements), net::Family::kIpv4);
    EXPECT_FALSE(suspicion.everything);
    EXPECT_FALSE(suspicion.structure);
    ASSERT_EQ(suspicion.focus.size(), 1U);
    EXPECT_EQ(suspicion.focus.begin()->second.bytes, (std::vector<std::uint8_t>{10, 0, 0, 1}));
    EXPECT_TRUE(suspicion_of(told(elements), net::Family::kIpv6).focus.empty()) << "the other family";
    for (const auto member : {&ForeignWrite::table, &ForeignWrite::overflow, &ForeignWrite::lost}) {
        ForeignWrite write = elements;
        write.*member = true;
        EXPECT_TRUE(suspicion_of(told(write), net::Family::kIpv4).everything);
    }
    ForeignWrite for_all = elements;
    for_all.elements[0].key.clear();
    EXPECT_TRUE(suspicion_of(told(for_all), net::Family::kIpv4).everything);
    ForeignWrite rules;
    rules.structure = true;
    EXPECT_TRUE(suspicion_of(told(rules), net::Family::kIpv4).structure);
    EXPECT_TRUE(suspicion_of(std::vector<dataplane::ForeignWrite>(1), net::Family::kIpv4).everything);
}

}  // namespace
}  // namespace ghostip::dataplane::nftables

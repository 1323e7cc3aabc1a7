// src/kernel/conntrack against the kernel of this machine, in network namespaces of its own.
#include <algorithm>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/flow_cleaner.h"
#include "kernel/conntrack/linux.h"
#include "kernel/conntrack_entries.h"
#include "support/namespace.h"

namespace ghostip {
namespace {

using kernel::conntrack::Entry;
using kernel::conntrack::Filter;
using kernel::conntrack::LinuxConntrack;
using kernel::conntrack::Tuple;
using kernel::conntrack::Zones;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using ::testing::UnorderedElementsAreArray;
using testnet::ConntrackMaker;
using testnet::Namespace;
using testnet::NewEntry;

const auto kEverything = [](const Entry&) { return true; };

net::IpAddress ip(std::string_view text) { return net::IpAddress::parse(text).value(); }

// One address of each role for each family.
struct Cast {
    net::Family family;
    net::IpAddress client, service, other_service, endpoint, other_endpoint, node;
};
const std::vector<Cast>& casts() {
    static const std::vector<Cast> casts{{net::Family::kIpv4, ip("10.9.9.9"), ip("172.30.0.1"), ip("172.30.0.2"),
                                          ip("10.0.0.1"), ip("10.0.0.2"), ip("192.168.0.2")},
                                         {net::Family::kIpv6, ip("fd00:9::9"), ip("fd00:30::1"), ip("fd00:30::2"),
                                          ip("fd00::1"), ip("fd00::2"), ip("2001:db8::1")}};
    return casts;
}

struct Place {
    Namespace where;
    std::unique_ptr<LinuxConntrack> conntrack;
    ConntrackMaker maker;

    static Place make() {
        auto where = Namespace::create();
        if (!where) throw std::runtime_error(where.error().message);
        const auto inside = where->enter();
        auto conntrack = LinuxConntrack::open();
        auto maker = ConntrackMaker::open();
        if (!conntrack || !maker) throw std::runtime_error("no netlink socket");
        return {std::move(*where), std::move(*conntrack), std::move(*maker)};
    }
    [[nodiscard]] std::uint32_t tracked() const {
        const auto inside = where.enter();
        return testnet::tracked_here().value();
    }
    [[nodiscard]] std::vector<Entry> all(net::Family family) {
        auto entries = conntrack->dump({family, std::nullopt, std::nullopt}, kEverything);
        EXPECT_TRUE(entries) << entries.error().message;
        return entries.value_or({});
    }
    // Entries that the kernel sends for this filter: more than the answer has, if it filters wrongly or not at all.
    std::uint64_t sent_for(const Filter& filter) {
        const auto before = conntrack->entries_received();
        EXPECT_TRUE(conntrack->dump(filter, kEverything));
        return conntrack->entries_received() - before;
    }
};

// From `port` of the client, translated as told.
NewEntry flow(const Cast& cast, std::uint16_t port, const net::IpAddress& dialled, std::uint16_t dialled_port,
              const net::IpAddress& answerer, std::uint16_t answerer_port) {
    NewEntry entry;
    entry.original = {{cast.client, port}, {dialled, dialled_port}};
    entry.reply = {{answerer, answerer_port}, {cast.client, port}};
    return entry;
}

std::vector<Tuple> originals(const std::vector<Entry>& entries) {
    std::vector<Tuple> result;
    for (const auto& entry : entries) result.push_back(entry.original);
    return result;
}

TEST(Conntrack, ReadsBackWhatIsThere) {
    auto place = Place::make();
    for (const auto& cast : casts()) {
        NewEntry plain = flow(cast, 1001, cast.service, 53, cast.endpoint, 5353);
        NewEntry masqueraded = flow(cast, 1002, cast.service, 53, cast.endpoint, 5353);
        masqueraded.reply.destination = {cast.node, 40000};
        NewEntry zoned = flow(cast, 1003, cast.service, 53, cast.endpoint, 5353);
        zoned.zones.both = 7;
        ASSERT_TRUE(place.maker.make({plain, masqueraded, zoned}));
        const auto entries = place.all(cast.family);
        ASSERT_THAT(entries, SizeIs(3));
        for (const auto& expected : {plain, masqueraded, zoned}) {
            const auto found = std::find_if(entries.begin(), entries.end(),
                                            [&](const auto& e) { return e.original == expected.original; });
            ASSERT_NE(found, entries.end());
            EXPECT_EQ(found->reply, expected.reply);
            EXPECT_EQ(found->zones, expected.zones);
            EXPECT_NE(found->id, 0U);
        }
    }
}

TEST(Conntrack, FiltersInTheKernel) {
    auto place = Place::make();
    std::vector<NewEntry> made;
    for (const auto& cast : casts()) {
        for (std::uint16_t i = 0; i < 100; ++i) {
            made.push_back(flow(cast, 2000 + i, cast.service, 53, cast.endpoint, 5353));
            made.push_back(flow(cast, 2200 + i, cast.service, 54, cast.endpoint, 5353));
            made.push_back(flow(cast, 2400 + i, cast.other_service, 53, cast.endpoint, 5353));
            auto tcp = flow(cast, 2000 + i, cast.service, 53, cast.endpoint, 5353);
            tcp.protocol = net::Protocol::kTcp;
            made.push_back(tcp);
        }
        // What a reply looks like from the other side must not be taken for the original.
        made.push_back(flow(cast, 53, cast.other_endpoint, 9, cast.other_endpoint, 9));
    }
    const auto result = place.maker.make(made);
    ASSERT_TRUE(result) << result.error().message;
    for (const auto& cast : casts()) {
        const Filter exact{cast.family, cast.service, std::uint16_t{53}};
        const Filter port{cast.family, std::nullopt, std::uint16_t{53}};
        const Filter udp{cast.family, std::nullopt, std::nullopt};
        EXPECT_THAT(place.conntrack->dump(exact, kEverything).value(), SizeIs(100));
        EXPECT_THAT(place.conntrack->dump(port, kEverything).value(), SizeIs(200));
        EXPECT_THAT(place.conntrack->dump(udp, kEverything).value(), SizeIs(301));
        EXPECT_THAT(place.conntrack->dump({cast.family, cast.node, std::nullopt}, kEverything).value(), SizeIs(0));
        EXPECT_EQ(place.sent_for(port), 200U);
        EXPECT_EQ(place.sent_for(udp), 301U);
        // An IPv6 address is compared here.
        EXPECT_EQ(place.sent_for(exact), cast.family == net::Family::kIpv4 ? 100U : 200U);
        const auto some =
            place.conntrack->dump(exact, [](const Entry& entry) { return entry.original.source.port < 2010; });
        EXPECT_THAT(some.value(), SizeIs(10));
    }
}

TEST(Conntrack, RemovesOneEntryAndNoOther) {
    auto place = Place::make();
    for (const auto& cast : casts()) {
        const auto wanted = flow(cast, 3000, cast.service, 53, cast.endpoint, 5353);
        const auto neighbour = flow(cast, 3001, cast.service, 53, cast.endpoint, 5353);
        auto tcp = wanted;
        tcp.protocol = net::Protocol::kTcp;
        ASSERT_TRUE(place.maker.make({wanted, neighbour, tcp}));
        const auto before = place.tracked();
        const auto found = place.conntrack->dump({cast.family, cast.service, std::uint16_t{53}},
                                                 [](const Entry& e) { return e.original.source.port == 3000; });
        ASSERT_TRUE(found);
        ASSERT_THAT(*found, SizeIs(1));
        EXPECT_EQ(place.conntrack->remove(found->front()).value(), true);
        EXPECT_EQ(place.conntrack->remove(found->front()).value(), false) << "gone already";
        EXPECT_THAT(originals(place.all(cast.family)), UnorderedElementsAre(neighbour.original));
        EXPECT_EQ(place.tracked(), before - 1) << "the TCP connection of the same ends is there";
    }
}

// A client that goes on with the same port has a new entry under the old one's tuple.
TEST(Conntrack, ANewFlowInTheOldOnesPlaceStays) {
    auto place = Place::make();
    for (const auto& cast : casts())
        for (const bool other_answerer : {true, false}) {
            const auto old_flow = flow(cast, 3000, cast.service, 53, cast.endpoint, 5353);
            const auto new_flow =
                flow(cast, 3000, cast.service, 53, other_answerer ? cast.other_endpoint : cast.endpoint, 5353);
            ASSERT_TRUE(place.maker.make({old_flow}));
            const auto found = place.all(cast.family);
            ASSERT_THAT(found, SizeIs(1));
            ASSERT_TRUE(place.conntrack->remove(found.front()).value());
            ASSERT_TRUE(place.maker.make({new_flow}));
            const auto there = place.all(cast.family);
            ASSERT_THAT(there, SizeIs(1));
            // With the same answerer it is the same flow in all but its memory, which the kernel may use again.
            const auto result = place.conntrack->remove(found.front());
            ASSERT_TRUE(result) << result.error().message;
            if (other_answerer || there.front().id != found.front().id) {
                EXPECT_FALSE(*result);
                EXPECT_EQ(place.all(cast.family), there);
            }
            auto forged = there.front();
            forged.id ^= 1U;
            EXPECT_FALSE(place.conntrack->remove(forged).value()) << "another id";
            static_cast<void>(place.conntrack->remove(there.front()));
            EXPECT_THAT(place.all(cast.family), SizeIs(0));
        }
}

TEST(Conntrack, ZonesAreApart) {
    auto place = Place::make();
    for (const auto& cast : casts()) {
        const auto in = [&](Zones zones) {
            auto entry = flow(cast, 4000, cast.service, 53, cast.endpoint, 5353);
            entry.zones = zones;
            return entry;
        };
        // The same tuples five times. (Of one zone, one direction only: the other direction is in zone 0 and must not
        // meet the others there.)
        auto original_only = in({0, 3, 0});
        original_only.reply.destination.port = 4001;
        auto reply_only = in({0, 0, 4});
        reply_only.original.source.port = 4002;
        const std::vector<NewEntry> made{in({0, 0, 0}), in({1, 0, 0}), in({65535, 0, 0}), original_only, reply_only};
        const auto result = place.maker.make(made);
        ASSERT_TRUE(result) << result.error().message;
        auto rest = place.all(cast.family);
        ASSERT_THAT(rest, SizeIs(made.size())) << "a list has all zones";
        for (const auto& entry : made) {
            const auto found = std::find_if(rest.begin(), rest.end(), [&](const auto& e) {
                return e.zones == entry.zones && e.original == entry.original && e.reply == entry.reply;
            });
            ASSERT_NE(found, rest.end()) << entry.zones.both << ' ' << entry.zones.original << ' ' << entry.zones.reply;
            EXPECT_TRUE(place.conntrack->remove(*found).value())
                << entry.zones.both << ' ' << entry.zones.original << ' ' << entry.zones.reply;
            rest.erase(found);
            EXPECT_THAT(place.all(cast.family), UnorderedElementsAreArray(rest));
        }
    }
}

TEST(Conntrack, NamespacesAreApart) {
    auto here = Place::make();
    auto there = Place::make();
    const auto& cast = casts().front();
    ASSERT_TRUE(here.maker.make({flow(cast, 5000, cast.service, 53, cast.endpoint, 5353)}));
    ASSERT_TRUE(there.maker.make({flow(cast, 5000, cast.service, 53, cast.endpoint, 5353)}));
    const auto entries = here.all(cast.family);
    ASSERT_THAT(entries, SizeIs(1));
    EXPECT_EQ(here.conntrack->remove(entries.front()).value(), true);
    EXPECT_EQ(here.tracked(), 0U);
    EXPECT_EQ(there.tracked(), 1U);
    EXPECT_EQ(there.conntrack->remove(entries.front()).value(), false) << "its id is that of an entry elsewhere";
}

// All of it together: a change of the plan reaches exactly the flows that it makes wrong.
TEST(Conntrack, TheCleanerOnTheRealTable) {
    for (const auto& cast : casts())
        for (const bool many : {false, true}) {
            auto place = Place::make();
            auto masqueraded = flow(cast, 6002, cast.service, 53, cast.other_endpoint, 5353);
            masqueraded.reply.destination = {cast.node, 40000};
            auto zoned = flow(cast, 6003, cast.service, 53, cast.other_endpoint, 5353);
            zoned.zones.both = 7;
            auto tcp = flow(cast, 6004, cast.service, 53, cast.other_endpoint, 5353);
            tcp.protocol = net::Protocol::kTcp;
            auto masqueraded_right = flow(cast, 6010, cast.service, 53, cast.endpoint, 5353);
            masqueraded_right.reply.destination = {cast.node, 40001};
            const std::vector<NewEntry> wrong{flow(cast, 6001, cast.service, 53, cast.other_endpoint, 5353),
                                              masqueraded, zoned, flow(cast, 6005, cast.service, 53, cast.service, 53)};
            const std::vector<NewEntry> right{
                masqueraded_right, flow(cast, 6011, cast.service, 53, cast.endpoint, 5353),
                flow(cast, 6012, cast.service, 54, cast.other_endpoint, 5353),       // another port
                flow(cast, 6013, cast.other_service, 53, cast.other_endpoint, 5353)  // somebody else's
            };
            ASSERT_TRUE(place.maker.make(wrong));
            ASSERT_TRUE(place.maker.make(right));
            ASSERT_TRUE(place.maker.make({tcp}));

            plan::StaleFlows stale;
            const auto answerers = std::make_shared<const std::vector<plan::AddressPort>>(
                std::vector<plan::AddressPort>{{cast.endpoint, 5353}});
            stale.set({cast.service, 53}, answerers);
            if (many)
                for (std::uint16_t port = 10000; port < 10100; ++port) stale.set({cast.service, port}, answerers);
            std::unique_ptr<LinuxConntrack> own;
            {
                const auto inside = place.where.enter();
                own = LinuxConntrack::open().value();
            }
            agent::FlowCleaner cleaner(std::move(own));
            cleaner.submit(cast.family, stale);
            ASSERT_TRUE(cleaner.wait_idle(std::chrono::seconds(30)));
            EXPECT_EQ(cleaner.counts().removed, wrong.size());
            EXPECT_EQ(cleaner.counts().dumps, 1U);
            EXPECT_EQ(cleaner.counts().failures, 0U);
            std::vector<Tuple> expected;
            for (const auto& entry : right) expected.push_back(entry.original);
            EXPECT_THAT(originals(place.all(cast.family)), UnorderedElementsAreArray(expected));
            EXPECT_EQ(place.tracked(), right.size() + 1) << "TCP is left alone";
        }
}

}  // namespace
}  // namespace ghostip

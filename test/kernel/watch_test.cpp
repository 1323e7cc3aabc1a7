// The watch against the real nf_tables: what the real nft does to our table is seen, with who did it; what we do is
// not.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/nft/linux.h"
#include "kernel/nft/watch.h"
#include "support/namespace.h"

namespace ghostip {
namespace {

using namespace std::chrono_literals;
using namespace kernel::nft;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using How = Touched::How;
using Key = std::vector<std::uint8_t>;

constexpr auto kSoon = 10s;  // a deadline, not a measurement
const Table kTable{net::Family::kIpv4, "ghostip", ""};
const Table kTable6{net::Family::kIpv6, "ghostip", ""};

Set addresses() { return {.name = "addresses", .key = {kernel::nft::Field::kAddress}}; }
Set ports() { return {.name = "ports", .key = {kernel::nft::Field::kPort}}; }
Set endpoints() {
    return {.name = "endpoints",
            .key = {kernel::nft::Field::kAddress, kernel::nft::Field::kProtocol, kernel::nft::Field::kPort},
            .data = {kernel::nft::Field::kAddress, kernel::nft::Field::kPort}};
}
Set stuck() {
    return {.name = "stuck",
            .key = {kernel::nft::Field::kAddress},
            .data = {kernel::nft::Field::kAddress},
            .timeout_seconds = 1};
}

Elements addresses_from(std::uint32_t first, std::uint32_t count) {
    Elements elements{"addresses", 4, 0, {}};
    for (std::uint32_t i = first; i < first + count; ++i)
        for (const auto byte : {std::uint8_t{10}, static_cast<std::uint8_t>(i >> 16), static_cast<std::uint8_t>(i >> 8),
                                static_cast<std::uint8_t>(i)})
            elements.bytes.push_back(byte);
    return elements;
}

// Our table in a namespace of its own, as two sockets of ours made it, and the watch.
struct Place {
    testnet::Namespace space;
    std::unique_ptr<LinuxKernel> kernel;
    std::unique_ptr<LinuxKernel> second;
    std::unique_ptr<LinuxWatch> watch;

    static Place make(int receive_buffer_bytes = LinuxWatch::kReceiveBufferBytes) {
        auto space = testnet::Namespace::create();
        if (!space) ADD_FAILURE() << "needs root: " << space.error().message;
        const auto inside = space->enter();
        Place place{std::move(*space), std::move(*LinuxKernel::open()), std::move(*LinuxKernel::open()),
                    std::move(*LinuxWatch::open("ghostip", receive_buffer_bytes))};
        EXPECT_TRUE(place.watch->ignore(place.kernel->port_id()));
        EXPECT_TRUE(place.watch->ignore(place.second->port_id()));
        for (const auto& table : {kTable, kTable6})
            EXPECT_TRUE(place.kernel->commit({table,
                                              {AddTable{}, AddSet{addresses()}, AddSet{ports()}, AddSet{endpoints()},
                                               AddSet{stuck()}, AddChain{"plain", std::nullopt}}}));
        EXPECT_TRUE(place.kernel->commit({kTable, {AddElements{addresses_from(1, 3)}}}));
        return place;
    }
    void nft(const std::string& commands) const {
        const auto done = space.must_run({"nft", "-f", "-"}, commands);
        EXPECT_TRUE(done) << done.error().message;
    }
    // The elements of `stuck` in nft's words, if it has any.
    [[nodiscard]] std::string stuck_clients() const {
        const std::string listing = space.must_run({"nft", "list", "map", "ip", "ghostip", "stuck"}).value();
        const auto at = listing.find("elements = ");
        return at == std::string::npos ? "" : listing.substr(at);
    }
    // Everything that is told until the first silence after the first word.
    [[nodiscard]] std::vector<ForeignWrite> told() const {
        std::vector<ForeignWrite> all;
        for (int i = 0; i < 1000; ++i) {
            const auto some = watch->wait(-1, all.empty() ? std::chrono::milliseconds(kSoon) : 0ms);
            EXPECT_TRUE(some) << some.error().message;
            if (!some || some->empty()) break;
            all.insert(all.end(), some->begin(), some->end());
        }
        return all;
    }
    // A foreign write that is no doubt seen, so that silence before it is real.
    void expect_silence_until_now() const {
        nft("add chain ip ghostip silence\n");
        const auto all = told();
        ASSERT_EQ(all.size(), 1U);
        EXPECT_TRUE(all[0].structure);
        EXPECT_THAT(all[0].elements, IsEmpty());
        EXPECT_FALSE(all[0].table || all[0].lost);
    }
};

TEST(Watch, SeesWhatNftDoes) {
    struct Case {
        const char* name;
        const char* commands;
        std::vector<ForeignWrite> want;  // without who
    };
    const Place place = Place::make();
    const auto elements = [](std::vector<Touched> touched, std::uint64_t added, std::uint64_t deleted) {
        ForeignWrite write;
        write.elements = std::move(touched);
        write.added = added;
        write.deleted = deleted;
        return write;
    };
    ForeignWrite structure;
    structure.structure = true;
    ForeignWrite structure6 = structure;
    structure6.family = net::Family::kIpv6;
    ForeignWrite table;
    table.table = true;
    ForeignWrite table6 = table;
    table6.family = net::Family::kIpv6;
    table6.structure = true;
    const Key endpoint{10, 0, 0, 9, 17, 0, 0, 0, 0, 53, 0, 0};
    const std::vector<Case> cases{
        {"an element added",
         "add element ip ghostip addresses { 10.0.0.9 }\n",
         {elements({{"addresses", {10, 0, 0, 9}, How::kAdded}}, 1, 0)}},
        {"an element deleted",
         "delete element ip ghostip addresses { 10.0.0.2 }\n",
         {elements({{"addresses", {10, 0, 0, 2}, How::kDeleted}}, 0, 1)}},
        {"a short key",
         "add element ip ghostip ports { 80 }\n",
         {elements({{"ports", {0, 80, 0, 0}, How::kAdded}}, 1, 0)}},
        {"a key of several fields",
         "add element ip ghostip endpoints { 10.0.0.9 . udp . 53 : 10.1.1.1 . 5353 }\n",
         {elements({{"endpoints", endpoint, How::kAdded}}, 1, 0)}},
        {"a value exchanged in one transaction",
         "delete element ip ghostip endpoints { 10.0.0.9 . udp . 53 }\n"
         "add element ip ghostip endpoints { 10.0.0.9 . udp . 53 : 10.1.1.2 . 5353 }\n",
         {elements({{"endpoints", endpoint, How::kDeleted}, {"endpoints", endpoint, How::kAdded}}, 1, 1)}},
        {"a set emptied", "flush set ip ghostip ports\n", {elements({{"ports", {0, 80, 0, 0}, How::kDeleted}}, 0, 1)}},
        {"a rule added", "add rule ip ghostip plain counter accept\n", {structure}},
        {"a chain emptied", "flush chain ip ghostip plain\n", {structure}},
        {"a set added", "add set ip ghostip another { type ipv4_addr; }\n", {structure}},
        {"a set deleted", "delete set ip ghostip another\n", {structure}},
        {"a chain of ours deleted", "delete chain ip ghostip plain\n", {structure}},
        {"the table put to sleep", "add table ip ghostip { flags dormant; }\n", {table}},
        {"both families at once", "add chain ip ghostip one\nadd chain ip6 ghostip one\n", {structure, structure6}},
        {"everything of one family deleted", "delete table ip6 ghostip\n", {table6}},
    };
    for (const auto& c : cases) {
        place.nft(c.commands);
        auto told = place.told();
        for (auto& write : told) {
            EXPECT_EQ(write.process_name, "nft") << c.name;
            EXPECT_NE(write.process_id, 0U) << c.name;
            write.process_name.clear();
            write.process_id = 0;
        }
        EXPECT_EQ(told, c.want) << c.name;
    }
}

TEST(Watch, OtherTablesAreNotOurs) {
    const Place place = Place::make();
    place.nft(
        "add table ip other\nadd chain ip other c\nadd set ip other addresses { type ipv4_addr; elements = { 10.0.0.1 "
        "} }\n");
    place.nft("add table inet ghostip\nadd chain inet ghostip c\ndelete table inet ghostip\n");
    place.nft("add table ip ghostip2\ndelete table ip ghostip2\n");
    place.expect_silence_until_now();
}

// Not even woken: the receive buffer stays empty, for one message and for many in one datagram.
TEST(Watch, OwnWritesAreDroppedInTheKernel) {
    const Place place = Place::make();
    EXPECT_TRUE(place.kernel->commit({kTable, {AddElements{addresses_from(10, 1)}}}));
    EXPECT_TRUE(place.second->commit({kTable, {AddElements{addresses_from(1000, 20'000)}}}));
    EXPECT_TRUE(place.second->commit({kTable, {DeleteElements{addresses_from(1000, 20'000)}}}));
    EXPECT_TRUE(place.kernel->commit({kTable6, {DeleteTable{}}}));
    const auto waited = place.watch->wait(-1, 0ms);
    ASSERT_TRUE(waited);
    EXPECT_THAT(*waited, IsEmpty());
    pollfd readable{place.watch->fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&readable, 1, 0), 0) << "something arrived";
    place.expect_silence_until_now();
}

TEST(Watch, AnotherSocketOfThisProcessIsForeign) {
    const Place place = Place::make();
    const auto inside = place.space.enter();
    const auto third = std::move(*LinuxKernel::open());
    EXPECT_TRUE(third->commit({kTable, {AddElements{addresses_from(10, 1)}}}));
    EXPECT_THAT(place.told(),
                ElementsAre(AllOf(Field(&ForeignWrite::added, 1U),
                                  Field(&ForeignWrite::process_id, static_cast<std::uint32_t>(::getpid())))));
    // What is in the receive buffer already when a port becomes ours is not told either.
    EXPECT_TRUE(third->commit({kTable, {AddElements{addresses_from(11, 1)}}}));
    EXPECT_TRUE(place.watch->ignore(third->port_id()));
    EXPECT_TRUE(third->commit({kTable, {AddElements{addresses_from(12, 1)}}}));
    place.expect_silence_until_now();
}

// Elements that expire, and those that a rule adds for a packet.
TEST(Watch, PacketsAndTimeAreNotWriters) {
    const Place place = Place::make();
    place.nft(
        "add chain ip ghostip out { type filter hook output priority 0; }\n"
        "add rule ip ghostip out udp dport 9 update @stuck { ip daddr : ip saddr }\n"
        "add element ip ghostip stuck { 10.9.9.9 timeout 10ms : 10.9.9.8 }\n");
    ASSERT_EQ(place.told().size(), 1U);
    {
        const auto inside = place.space.enter();
        const Fd sender(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(9);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ASSERT_EQ(::sendto(sender.get(), "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to), 1);
    }
    ASSERT_THAT(place.stuck_clients(), HasSubstr("127.0.0.1")) << "the rule has added an element";
    const auto deadline = std::chrono::steady_clock::now() + kSoon;
    while (!place.stuck_clients().empty() && std::chrono::steady_clock::now() < deadline) {
        const auto waited = place.watch->wait(-1, 100ms);
        ASSERT_TRUE(waited);
        EXPECT_THAT(*waited, IsEmpty());
    }
    EXPECT_EQ(place.stuck_clients(), "") << "they do expire";
    place.expect_silence_until_now();
}

std::string element_list(std::uint32_t count) {
    std::string text = "add element ip ghostip addresses { ";
    for (std::uint32_t i = 0; i < count; ++i)
        text += fmt::format("10.{}.{}.{}, ", 1 + (i >> 16), i >> 8 & 255, i & 255);
    return text + "}\n";
}

TEST(Watch, AFloodOverflows) {
    const Place place = Place::make();
    place.nft(element_list(100'000));
    const auto told = place.told();
    ASSERT_EQ(told.size(), 1U);
    EXPECT_EQ(told[0].added, 100'000U);
    EXPECT_EQ(told[0].elements.size(), kMaxTouched);
    EXPECT_TRUE(told[0].overflow);
    EXPECT_FALSE(told[0].lost);
    EXPECT_EQ(told[0].process_name, "nft");
    place.expect_silence_until_now();
}

// With a small receive buffer that nobody reads meanwhile.
TEST(Watch, AFloodIsLost) {
    const Place place = Place::make(64 << 10);
    place.nft(element_list(100'000));
    const auto told = place.told();
    ASSERT_GE(told.size(), 2U);
    EXPECT_LE(told.size(), 4U);
    EXPECT_TRUE(told[told.size() - 2].lost);
    EXPECT_TRUE(told[told.size() - 1].lost);
    EXPECT_NE(told[told.size() - 2].family, told[told.size() - 1].family) << "anything may have changed";
    place.expect_silence_until_now();
}

TEST(Watch, ManySmallTransactions) {
    const Place place = Place::make();
    const auto inside = place.space.enter();
    const auto third = std::move(*LinuxKernel::open());
    constexpr std::uint32_t kCount = 2000;
    for (std::uint32_t i = 0; i < kCount; ++i)
        ASSERT_TRUE(third->commit({kTable, {AddElements{addresses_from(1000 + i, 1)}}}));
    const auto told = place.told();
    ASSERT_EQ(told.size(), kCount);
    for (std::uint32_t i = 0; i < kCount; ++i)
        EXPECT_EQ(told[i].elements,
                  (std::vector<Touched>{{"addresses", addresses_from(1000 + i, 1).bytes, How::kAdded}}));
}

TEST(Watch, PausesForBigWrites) {
    const Place place = Place::make();
    ASSERT_TRUE(place.watch->pause());
    EXPECT_TRUE(place.kernel->commit({kTable, {AddElements{addresses_from(1000, 1000)}}}));
    EXPECT_TRUE(place.second->commit({kTable, {DeleteElements{addresses_from(1000, 1000)}}}));
    EXPECT_TRUE(place.second->check({kTable, {AddElements{addresses_from(1000, 1)}}})) << "changes nothing";
    EXPECT_TRUE(place.watch->resume(2).value());
    place.expect_silence_until_now();

    ASSERT_TRUE(place.watch->pause());
    place.nft("add element ip ghostip addresses { 10.0.0.99 }\n");
    EXPECT_TRUE(place.kernel->commit({kTable, {AddElements{addresses_from(1000, 10)}}}));
    EXPECT_FALSE(place.watch->resume(1).value()) << "nft wrote too";
    place.expect_silence_until_now();
}

TEST(Watch, StopsAndTimesOut) {
    const Place place = Place::make();
    EXPECT_THAT(place.watch->wait(-1, 1ms).value(), IsEmpty());
    const Fd stop(::eventfd(1, EFD_CLOEXEC));
    place.nft("add element ip ghostip addresses { 10.0.0.99 }\n");
    EXPECT_THAT(place.watch->wait(stop.get(), std::nullopt).value(), IsEmpty()) << "the stop comes first";
    EXPECT_EQ(place.told().size(), 1U);
}

}  // namespace
}  // namespace ghostip

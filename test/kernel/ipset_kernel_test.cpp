// IP sets against a kernel that has them and against ipset: each reads what the other wrote. Runs inside user-mode
// Linux (test/uml), each test in a network namespace of its own.
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/ipset/contract_testing.h"
#include "kernel/ipset/linux.h"
#include "support/namespace.h"

namespace ghostip::kernel::ipset {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAreArray;

// First: afterwards the modules are loaded.
TEST(IpsetAbsent, IsOneClearError) {
    const std::string kLoader = "/proc/sys/kernel/modprobe";
    std::ifstream about("/proc/cpuinfo");
    const std::string cpu{std::istreambuf_iterator<char>(about), std::istreambuf_iterator<char>()};
    ASSERT_THAT(cpu, HasSubstr("User Mode Linux")) << "this changes how the kernel loads modules; test/uml/run.sh";
    std::string before;
    std::ifstream(kLoader) >> before;
    std::ofstream(kLoader) << "/bin/false\n";
    const auto opened = LinuxSets::open();
    std::ofstream(kLoader) << before << "\n";
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, ENOENT);
    EXPECT_EQ(opened.error().message, "this kernel has no IP sets (module ip_set is neither built in nor loadable)");
    EXPECT_TRUE(LinuxSets::open()) << "the kernel did not load the module by itself";
}

class IpsetKernel : public ::testing::Test {
  protected:
    void SetUp() override {
        auto space = testnet::Namespace::create();
        ASSERT_TRUE(space) << "needs root: " << space.error().message;
        space_.emplace(std::move(*space));
        const auto inside = space_->enter();
        auto sets = LinuxSets::open();
        ASSERT_TRUE(sets) << sets.error().message;
        sets_ = std::move(*sets);
    }

    std::string run(const std::vector<std::string>& argv, std::string_view input = {}) {
        const auto done = space_->must_run(argv, input);
        EXPECT_TRUE(done) << (done ? "" : done.error().message);
        return done ? *done : "";
    }
    std::vector<std::string> saved() {
        std::vector<std::string> lines;
        std::istringstream in(run({"ipset", "save"}));
        for (std::string line; std::getline(in, line);) lines.push_back(line);
        return lines;
    }

    std::optional<testnet::Namespace> space_;
    std::unique_ptr<LinuxSets> sets_;
};

TEST_F(IpsetKernel, DoesAsTheTwinDoes) {
    for (const auto type : kTypes)
        for (const auto family : net::kFamilies) {
            SCOPED_TRACE(fmt::format("{} {}", type_name(type), net::family_name(family)));
            hold_to_contract(*sets_, type, family);
        }
    hold_to_size(*sets_);
}

// Sets in both languages: ours, and what ipset prints and reads.
struct Row {
    Definition definition;
    std::vector<Element> elements;
    std::vector<std::string> saved;
};

std::vector<Row> rows() {
    const auto head = [](const std::string& name, const std::string& type, const std::string& family) {
        // The tool prints the size of a bucket of sets that know nothing of it, and the seed of none of them.
        return "create " + name + " " + type + " family " + family + " hashsize 1024 maxelem 65536";
    };
    const auto first = [](Type type, net::Family family) {
        auto all = samples(type, family);
        all.resize(2);
        return all;
    };
    using net::Family;
    return {
        {{"A4", Type::kIpPort, Family::kIpv4},
         first(Type::kIpPort, Family::kIpv4),
         {head("A4", "hash:ip,port", "inet"), "add A4 10.96.0.1,tcp:80", "add A4 10.96.0.2,sctp:80"}},
        {{"A6", Type::kIpPort, Family::kIpv6},
         first(Type::kIpPort, Family::kIpv6),
         {head("A6", "hash:ip,port", "inet6"), "add A6 fd00:96::1,tcp:80", "add A6 fd00:96::2,sctp:80"}},
        {{"B4", Type::kIpPortIp, Family::kIpv4},
         first(Type::kIpPortIp, Family::kIpv4),
         {head("B4", "hash:ip,port,ip", "inet"), "add B4 10.96.0.1,tcp:80,10.96.0.1",
          "add B4 10.96.0.1,udp:53,10.96.0.2"}},
        {{"B6", Type::kIpPortIp, Family::kIpv6},
         first(Type::kIpPortIp, Family::kIpv6),
         {head("B6", "hash:ip,port,ip", "inet6"), "add B6 fd00:96::1,tcp:80,fd00:96::1",
          "add B6 fd00:96::1,udp:53,fd00:96::2"}},
        {{"C4", Type::kIpPortNet, Family::kIpv4},
         first(Type::kIpPortNet, Family::kIpv4),
         {head("C4", "hash:ip,port,net", "inet"), "add C4 10.96.0.1,tcp:80,192.0.2.0/24",
          "add C4 10.96.0.1,tcp:80,128.0.0.0/1"}},
        {{"C6", Type::kIpPortNet, Family::kIpv6},
         first(Type::kIpPortNet, Family::kIpv6),
         {head("C6", "hash:ip,port,net", "inet6"), "add C6 fd00:96::1,tcp:80,2001:db8::/48",
          "add C6 fd00:96::1,tcp:80,8000::/1"}},
        {{"D4", Type::kIp, Family::kIpv4},
         first(Type::kIp, Family::kIpv4),
         {head("D4", "hash:ip", "inet"), "add D4 10.96.0.1", "add D4 10.96.0.2"}},
        {{"D6", Type::kIp, Family::kIpv6},
         first(Type::kIp, Family::kIpv6),
         {head("D6", "hash:ip", "inet6"), "add D6 fd00:96::1", "add D6 fd00:96::2"}},
        {{"E", Type::kPort, Family::kIpv4},
         first(Type::kPort, Family::kIpv4),
         {"create E bitmap:port range 0-65535", "add E 0", "add E 65535"}},
    };
}

// What the kernel tells with every hash set since 5.13 (6.1: the size of a bucket and the seed of the hash).
std::vector<std::string> without_seeds(std::vector<std::string> lines) {
    for (auto& line : lines) line = line.substr(0, line.find(" bucketsize "));
    return lines;
}

TEST_F(IpsetKernel, IpsetReadsWhatWeWrite) {
    for (const auto& row : rows()) {
        ASSERT_TRUE(sets_->create(row.definition));
        EXPECT_THAT(*sets_->add(row.definition.name, row.definition.type, row.elements), IsEmpty());
        EXPECT_THAT(without_seeds(saved()), UnorderedElementsAreArray(row.saved));
        EXPECT_TRUE(*sets_->destroy(row.definition.name));
    }
    EXPECT_THAT(saved(), IsEmpty());
}

TEST_F(IpsetKernel, WeReadWhatIpsetWrites) {
    for (const auto& row : rows()) {
        std::string restored;
        for (const auto& line : row.saved) restored += line + "\n";
        run({"ipset", "restore"}, restored);
        auto expected = row.elements;
        std::sort(expected.begin(), expected.end());
        EXPECT_EQ(sorted_elements(sets_->contents(row.definition.name)), expected) << row.definition.name;
        const auto taken = sets_->create(row.definition);
        EXPECT_TRUE(taken) << "one of ipset's is not taken over: " << taken.error().message;
    }
}

TEST_F(IpsetKernel, ForeignSetsAreListedAndLeftAlone) {
    run({"ipset", "restore"},
        "create L list:set\ncreate M hash:mac\ncreate T hash:ip,port timeout 600 counters comment\n"
        "add T 10.0.0.1,tcp:80 timeout 300 packets 3 bytes 4 comment \"hello\"\nadd L T\n");
    const auto headers = sets_->headers();
    ASSERT_TRUE(headers) << headers.error().message;
    ASSERT_THAT(*headers, SizeIs(3));
    EXPECT_EQ((*headers)[0].type_name, "list:set");
    EXPECT_FALSE((*headers)[0].type);
    EXPECT_EQ((*headers)[1].type_name, "hash:mac");
    EXPECT_EQ((*headers)[2].type, Type::kIpPort);
    EXPECT_EQ((*headers)[2].references, 1U);
    EXPECT_EQ(sorted_elements(sets_->contents("T")), std::vector{element("10.0.0.1", net::Protocol::kTcp, 80)});
    EXPECT_THAT(sorted_elements(sets_->contents("L")), IsEmpty());
    EXPECT_EQ(sets_->create({"T"}).error().code, EEXIST);  // its elements have timeouts
    EXPECT_EQ(sets_->destroy("T").error().code, EBUSY);
    EXPECT_THAT(*sets_->headers(), SizeIs(3));
}

// One that a rule uses is exchanged under it, and stays.
TEST_F(IpsetKernel, ASetInUse) {
    ASSERT_TRUE(sets_->create({"USED"}));
    ASSERT_TRUE(sets_->create({"SPARE"}));
    run({"iptables-legacy", "-A", "FORWARD", "-m", "set", "--match-set", "USED", "dst,dst", "-j", "ACCEPT"});
    EXPECT_EQ(sets_->destroy("USED").error().code, EBUSY);
    ASSERT_TRUE(sets_->swap("USED", "SPARE"));
    EXPECT_EQ((*sets_->contents("USED"))->header.references, 1U);
    EXPECT_EQ(sets_->destroy("USED").error().code, EBUSY);
    EXPECT_TRUE(*sets_->destroy("SPARE"));
}

TEST_F(IpsetKernel, ManyElementsInFewMessages) {
    constexpr std::uint32_t kMany = 20000;
    ASSERT_TRUE(sets_->create({"MANY", Type::kIpPortNet, net::Family::kIpv6}));
    std::vector<Element> elements;
    std::vector<std::size_t> bad;
    for (std::uint32_t i = 0; i < kMany; ++i) {
        elements.push_back(element(fmt::format("fd00:96::{:x}:1", i), net::Protocol::kTcp, 80, range("2001:db8::/48")));
        if (i % 1000 != 999) continue;
        elements.back().other->length = 0;
        bad.push_back(i);
    }
    const auto refusals = sets_->add("MANY", Type::kIpPortNet, elements);
    ASSERT_TRUE(refusals) << refusals.error().message;
    std::vector<std::size_t> refused;
    for (const auto& refusal : *refusals) {
        refused.push_back(refusal.element);
        EXPECT_EQ(refusal.error.code, EINVAL);
    }
    EXPECT_EQ(refused, bad);
    EXPECT_EQ((*sets_->contents("MANY"))->header.elements, kMany - bad.size());
    EXPECT_THAT((*sets_->contents("MANY"))->elements, SizeIs(kMany - bad.size()));
    EXPECT_THAT(*sets_->remove("MANY", Type::kIpPortNet, elements), SizeIs(bad.size()));
    EXPECT_THAT((*sets_->contents("MANY"))->elements, IsEmpty());
}

}  // namespace
}  // namespace ghostip::kernel::ipset

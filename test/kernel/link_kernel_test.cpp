// Dummy devices against a kernel that has them and against ip. Runs inside user-mode Linux (test/uml), each test in a
// network namespace of its own.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/link/contract_testing.h"
#include "kernel/link/linux.h"
#include "support/namespace.h"

namespace ghostip::kernel::link {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

net::IpAddress ip(std::string_view text) { return net::IpAddress::parse(text).value(); }

class LinkKernel : public ::testing::Test {
  protected:
    void SetUp() override {
        auto space = testnet::Namespace::create();
        ASSERT_TRUE(space) << "needs root: " << space.error().message;
        space_.emplace(std::move(*space));
        const auto inside = space_->enter();
        auto links = LinuxLinks::open();
        ASSERT_TRUE(links) << links.error().message;
        links_ = std::move(*links);
    }

    std::string run(const std::vector<std::string>& argv) {
        const auto done = space_->must_run(argv);
        EXPECT_TRUE(done) << (done ? "" : done.error().message);
        return done ? *done : "";
    }

    std::optional<testnet::Namespace> space_;
    std::unique_ptr<LinuxLinks> links_;
};

TEST_F(LinkKernel, DoesAsTheTwinDoes) {
    run({"ip", "link", "add", "other", "type", "veth", "peer", "name", "peer"});
    hold_to_contract(*links_);
}

TEST_F(LinkKernel, WeReadWhatIpWrites) {
    run({"ip", "link", "add", "d0", "type", "dummy"});
    run({"ip", "addr", "add", "192.0.2.1/24", "dev", "d0"});
    run({"ip", "addr", "add", "198.51.100.1", "peer", "198.51.100.2", "dev", "d0"});
    run({"ip", "link", "set", "d0", "up"});
    EXPECT_EQ(*links_->find("d0"), (Device{"d0", "dummy", true}));
    EXPECT_EQ(*links_->find("lo"), (Device{"lo", "", true}));
    const auto all = links_->addresses();
    ASSERT_TRUE(all);
    EXPECT_THAT(*all, Contains(DeviceAddress{"lo", ip("127.0.0.1"), 8}));
    EXPECT_THAT(*all, Contains(DeviceAddress{"lo", ip("::1"), 128}));
    EXPECT_THAT(*all, Contains(DeviceAddress{"d0", ip("192.0.2.1"), 24}));
    EXPECT_THAT(*all, Contains(DeviceAddress{"d0", ip("198.51.100.1"), 32}));
}

// What kube-proxy's device relies on: it is down, and yet its addresses are this node's.
TEST_F(LinkKernel, AddressesOfADeviceThatIsDownAreLocal) {
    ASSERT_TRUE(links_->ensure_dummy("d0"));
    EXPECT_THAT(*links_->add_addresses("d0", std::vector{ip("10.96.0.1"), ip("fd00:96::1")}), IsEmpty());
    EXPECT_THAT(run({"ip", "-o", "link", "show", "d0"}), ::testing::Not(HasSubstr("UP")));
    EXPECT_THAT(run({"ip", "-4", "-o", "addr", "show", "d0"}), HasSubstr("inet 10.96.0.1/32 scope global d0"));
    EXPECT_THAT(run({"ip", "-6", "-o", "addr", "show", "d0"}), HasSubstr("inet6 fd00:96::1/128 scope global nodad"));
    EXPECT_THAT(run({"ip", "route", "get", "10.96.0.1"}), HasSubstr("local 10.96.0.1 dev lo"));
    EXPECT_THAT(run({"ip", "-6", "route", "get", "fd00:96::1"}), HasSubstr("local fd00:96::1 from :: dev"));
}

TEST_F(LinkKernel, WithoutIpv6ItsAddressesAreRefused) {
    ASSERT_TRUE(space_->sysctl("net/ipv6/conf/all/disable_ipv6", "1"));
    ASSERT_TRUE(space_->sysctl("net/ipv6/conf/default/disable_ipv6", "1"));
    ASSERT_TRUE(links_->ensure_dummy("d0"));
    const auto refusals = links_->add_addresses("d0", std::vector{ip("fd00:96::1"), ip("10.96.0.1")});
    ASSERT_THAT(*refusals, SizeIs(1));
    EXPECT_EQ(refusals->front().address, 0U);
    EXPECT_EQ(refusals->front().error.code, EACCES);
    EXPECT_THAT(addresses_of(*links_, "d0"), SizeIs(1));
}

TEST_F(LinkKernel, ManyAddressesInOneCall) {
    ASSERT_TRUE(links_->ensure_dummy("d0"));
    std::vector<net::IpAddress> many;
    for (int i = 0; i < 2000; ++i) {
        many.push_back(ip(fmt::format("10.96.{}.{}", i / 250, i % 250)));
        if (i % 4 == 0) many.push_back(ip(fmt::format("fd00:96::{:x}", i + 1)));
    }
    EXPECT_THAT(*links_->add_addresses("d0", many), IsEmpty());
    EXPECT_THAT(addresses_of(*links_, "d0"), SizeIs(many.size()));
    many.pop_back();
    EXPECT_THAT(*links_->remove_addresses("d0", many), IsEmpty());
    EXPECT_THAT(addresses_of(*links_, "d0"), SizeIs(1));
}

}  // namespace
}  // namespace ghostip::kernel::link

// src/kernel/nfacct against the kernel of this machine, in network namespaces of its own. A kernel without such
// counters is no failure: then it is shown that one is told so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/nfacct/linux.h"
#include "support/namespace.h"

namespace ghostip::kernel::nfacct {
namespace {

using testnet::Namespace;

TEST(Nfacct, CountsWhatRulesTellItTo) {
    const auto space = Namespace::create();
    ASSERT_TRUE(space) << "needs root: " << space.error().message;
    const auto inside = space->enter();
    const auto nfacct = LinuxNfacct::open();
    ASSERT_TRUE(nfacct) << nfacct.error().message;
    const auto created = (*nfacct)->create("drops");
    if (!created) {
        EXPECT_THAT(created.error().code, ::testing::AnyOf(EOPNOTSUPP, EINVAL)) << created.error().message;
        EXPECT_FALSE((*nfacct)->read("drops"));
        return;
    }
    ASSERT_TRUE(
        space->must_run({"iptables-nft", "-A", "OUTPUT", "-p", "udp", "-m", "nfacct", "--nfacct-name", "drops"}));
    ASSERT_TRUE(space->must_run({"python3", "-c",
                                 "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                 "for i in range(3): s.sendto(b'xx', ('127.0.0.1', 9))"}));
    // One that exists is no error, and goes on counting.
    const auto again = (*nfacct)->create("drops");
    EXPECT_TRUE(again) << again.error().message;
    const auto counter = (*nfacct)->read("drops");
    ASSERT_TRUE(counter) << counter.error().message;
    EXPECT_EQ(*counter, (Counter{3, 3 * (20 + 8 + 2)}));

    const auto none = (*nfacct)->read("other");
    ASSERT_TRUE(none) << none.error().message;
    EXPECT_EQ(*none, std::nullopt);
    const auto longest = std::string(kLongestName, 'n');
    EXPECT_TRUE((*nfacct)->create(longest));
    EXPECT_EQ((*nfacct)->read(longest).value(), Counter{});
    const auto refused = (*nfacct)->create(longest + "n");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EINVAL);
}

// Each namespace has its own.
TEST(Nfacct, IsOfItsNamespace) {
    const auto first = Namespace::create();
    const auto second = Namespace::create();
    ASSERT_TRUE(first && second);
    {
        const auto inside = first->enter();
        const auto created = LinuxNfacct::open().value()->create("drops");
        if (!created) {
            EXPECT_THAT(created.error().code, ::testing::AnyOf(EOPNOTSUPP, EINVAL)) << created.error().message;
            return;
        }
    }
    const auto inside = second->enter();
    EXPECT_EQ(LinuxNfacct::open().value()->read("drops").value(), std::nullopt);
}

}  // namespace
}  // namespace ghostip::kernel::nfacct

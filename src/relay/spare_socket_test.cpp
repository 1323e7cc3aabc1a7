#include "relay/spare_socket.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace ghostip::relay {
namespace {

int family_of(const Fd& socket) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    return address.ss_family;
}

TEST(SpareSocket, TheNextIsOfTheFamilyThatWasTaken) {
    SpareSocket spare;
    for (const int family : {AF_INET, AF_INET6, AF_INET}) {
        ASSERT_TRUE(spare.ready());
        EXPECT_EQ(family_of(spare.take(family)), family);
        ASSERT_TRUE(spare.ready());
        EXPECT_EQ(family_of(spare.take(family)), family);
    }
}

// As IPv6 on a host without it.
TEST(SpareSocket, AFamilyThatThereIsNotLeavesTheOtherReady) {
    SpareSocket spare;
    ASSERT_TRUE(spare.ready());
    EXPECT_FALSE(spare.take(AF_MAX));
    EXPECT_EQ(errno, EAFNOSUPPORT);
    ASSERT_TRUE(spare.ready());
    EXPECT_EQ(family_of(spare.take(AF_INET)), AF_INET);
}

}  // namespace
}  // namespace ghostip::relay

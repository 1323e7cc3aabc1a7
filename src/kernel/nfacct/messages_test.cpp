#include "kernel/nfacct/messages.h"

#include <array>
#include <cstring>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel/nfacct/memory.h"

namespace ghostip::kernel::nfacct {
namespace {

using ::testing::ElementsAreArray;

std::vector<std::uint8_t> bytes(const nlmsghdr* message) {
    std::vector<std::uint8_t> result(message->nlmsg_len);
    std::memcpy(result.data(), message, result.size());
    return result;
}

// By the numbers of linux/netfilter/nfnetlink_acct.h, on a little-endian machine: NFNL_SUBSYS_ACCT 7, NFNL_MSG_ACCT_NEW
// 0, NFNL_MSG_ACCT_GET 1, NFACCT_NAME 1.
TEST(NfacctMessages, Requests) {
    alignas(nlmsghdr) std::array<char, kRequestBytes> buffer{};
    constexpr std::array<std::uint8_t, 32> kCreate{
        32, 0, 0, 0, 0,   7,   5,   4,   9,   0, 0, 0,
        0,  0, 0, 0,                                     // length, type, REQUEST | ACK | CREATE, sequence, port
        0,  0, 0, 0,                                     // AF_UNSPEC, version 0, resource 0
        10, 0, 1, 0, 'd', 'r', 'o', 'p', 's', 0, 0, 0};  // NFACCT_NAME "drops", padded
    EXPECT_THAT(bytes(put_create(buffer.data(), 9, "drops")), ElementsAreArray(kCreate));

    auto read = std::vector<std::uint8_t>(kCreate.begin(), kCreate.end());
    read[4] = 1;
    read[7] = 0;
    EXPECT_THAT(bytes(put_read(buffer.data(), 9, "drops")), ElementsAreArray(read));
    EXPECT_LE(put_read(buffer.data(), 9, std::string(kLongestName, 'n'))->nlmsg_len, kRequestBytes);
}

// NFACCT_PKTS 2 and NFACCT_BYTES 3, big-endian.
TEST(NfacctMessages, AnAnswer) {
    alignas(nlmsghdr) std::array<std::uint8_t, 56> answer{56, 0, 0, 0, 0,   7,   0,   0,   9,   0, 0, 0, 0, 0, 0, 0,  //
                                                          0,  0, 0, 0,                                                //
                                                          10, 0, 1, 0, 'd', 'r', 'o', 'p', 's', 0, 0, 0,              //
                                                          12, 0, 2, 0, 0,   0,   0,   1,   0,   0, 0, 2,              //
                                                          12, 0, 3, 0, 0,   0,   0,   0,   0,   0, 1, 0};
    auto* const message = reinterpret_cast<nlmsghdr*>(answer.data());
    EXPECT_EQ(read_counter(message), (Counter{0x100000002, 0x100}));
    answer[0] = 44;  // without its bytes
    EXPECT_EQ(read_counter(message), std::nullopt);
    answer[0] = 50;  // cut short
    EXPECT_EQ(read_counter(message), std::nullopt);
    answer[0] = 56;
    answer[44] = 8;  // too short for a number
    EXPECT_EQ(read_counter(message), std::nullopt);
    answer[44] = 12;
    answer[5] = 8;  // another subsystem's
    EXPECT_EQ(read_counter(message), std::nullopt);
}

TEST(MemoryNfacct, KeepsCounters) {
    MemoryNfacct nfacct;
    EXPECT_EQ(nfacct.read("drops").value(), std::nullopt);
    EXPECT_TRUE(nfacct.create("drops"));
    nfacct.count("drops", {2, 100});
    EXPECT_TRUE(nfacct.create("drops"));
    EXPECT_EQ(nfacct.read("drops").value(), (Counter{2, 100}));
    for (const auto& name : {std::string(), std::string(kLongestName + 1, 'n'), std::string("a\0b", 3)}) {
        const auto refused = nfacct.create(name);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, EINVAL);
    }
    nfacct.fail_with(EOPNOTSUPP);
    const auto refused = nfacct.create("drops");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, EOPNOTSUPP);
    EXPECT_FALSE(nfacct.read("drops"));
}

}  // namespace
}  // namespace ghostip::kernel::nfacct

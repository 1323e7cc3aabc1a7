// One direction of a connection, between sockets of the test's own.
#include "relay/flow.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

constexpr std::size_t kPage = 4096;  // at least

TEST(PipePool, APipeHoldsNoMoreThanItMay) {
    for (const std::size_t kib : {32U, 33U, 63U, 64U, 65U, 100U, 129U, 255U, 256U, 257U, 1023U}) {
        PipePool pool(kib * 1024);
        const auto pipe = pool.take();
        ASSERT_TRUE(pipe) << kib;
        EXPECT_LE(pipe->capacity, kib * 1024);
        EXPECT_GT(pipe->capacity * 2, kib * 1024) << "and not much less";
        EXPECT_EQ(static_cast<std::size_t>(::fcntl(pipe->in.get(), F_GETPIPE_SZ)), pipe->capacity);
    }
}

TEST(PipePool, TooSmallToBeWorthIt) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, kPage, 8 * kPage - 1}) {
        PipePool pool(bytes);
        EXPECT_FALSE(pool.take()) << bytes;
    }
}

// Two ends of a TCP connection.
struct Connection {
    Connection() {
        const auto listener = bind_free(SOCK_STREAM);
        near = connect_to(listener.address);
        far = accept_one(listener.socket);
        for (const auto* socket : {&near, &far}) ::fcntl(socket->get(), F_SETFL, O_NONBLOCK);
    }
    Fd near;
    Fd far;
};

std::size_t taken_from(const Fd& socket) {
    std::vector<char> buffer(1 << 16);
    std::size_t sum = 0;
    for (;;) {
        const auto got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (got <= 0) return sum;
        sum += static_cast<std::size_t>(got);
    }
}

bool nothing_left_to_send(const Fd& socket) {
    int bytes = 1;
    return ::ioctl(socket.get(), SIOCOUTQ, &bytes) == 0 && bytes == 0;
}

// What it has read from one socket and not yet written to the other: the sockets' own buffers do not count.
TEST(Flow, HoldsNoMoreThanItMay) {
    for (const std::size_t kib : {4U, 33U, 64U, 129U, 256U}) {
        SCOPED_TRACE(kib);
        const Connection in;
        const Connection out;
        Means means{PipePool(kib * 1024), std::vector<char>(std::min<std::size_t>(kib, 32) * 1024)};
        Flow flow;
        Counter moved;
        Readiness from{.fd = in.far.get()};
        Readiness to{.fd = out.near.get()};
        const auto much = pattern(1 << 20, 1);
        std::size_t delivered = 0;
        std::size_t most = 0;
        // The reader reads only when nothing moves, ever again: how much is held is different each time.
        for (int round = 0; round < 40; ++round) {
            auto progress = Flow::Progress::kAgain;
            for (std::uint64_t before = 1; before != 0 || progress == Flow::Progress::kAgain;) {
                while (::send(in.near.get(), much.data(), much.size(), MSG_NOSIGNAL) > 0) {
                }
                before = moved.get();
                from.readable = to.writable = true;
                progress = flow.run(means, from, to, moved);
                ASSERT_TRUE(progress == Flow::Progress::kWaits || progress == Flow::Progress::kAgain);
                before = moved.get() - before;
            }
            // What it gave away arrives without it.
            EXPECT_TRUE(eventually([&] {
                const bool all = nothing_left_to_send(out.near);
                delivered += taken_from(out.far);
                return all;
            }));
            const std::size_t held = moved.get() - delivered;
            EXPECT_LE(held, kib * 1024) << round;
            most = std::max(most, held);
        }
        EXPECT_GT(most, 0U) << "nothing was ever held";
    }
}

}  // namespace
}  // namespace ghostip::relay::testing

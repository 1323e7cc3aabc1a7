// Listeners that go through a row of processes, each with a relay of its own, while clients come.
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>

#include <gtest/gtest.h>

#include "relay/handover.h"
#include "relay/relay_testing.h"

namespace ghostip::relay::testing {
namespace {

// A relay whose listeners can be handed over, and how that went.
class Owner {
  public:
    explicit Owner(Pool pool) {
        Options options;
        options.threads = 2;
        // All clients have one address here. With less time than this, a machine that has much to do ends sessions that
        // still wait for their answer.
        options.limits.udp_sessions_per_client = options.limits.udp_sessions;
        options.timeouts.udp_idle = std::chrono::seconds(1);
        relay_ = Relay::start(options).value();
        service_ = relay_->add_service(std::move(pool));
    }
    ListenerId listen(net::Protocol protocol) {
        return keep(protocol_name(protocol), protocol,
                    relay_->listen({.protocol = protocol, .address = loopback(), .service = service_}));
    }
    Result<void> open(const std::string& path) {
        ASSIGN_OR_RETURN(server_, HandoverServer::open(path, callbacks()));
        return {};
    }
    Result<void> succeed(const std::string& path) {
        ASSIGN_OR_RETURN(auto handover, Handover::ask(path, kLongest));
        if (!handover) return fail("nobody listens at {}", path);
        for (auto& [name, listener] : handover->listeners()) {
            auto adopted =
                relay_->adopt({.protocol = listener.protocol, .service = service_}, std::move(listener.sockets));
            RETURN_IF_ERROR(adopted);
            keep(name, listener.protocol, adopted);
        }
        RETURN_IF_ERROR(handover->done());
        ASSIGN_OR_RETURN(server_, HandoverServer::continue_from(*handover, callbacks()));
        return {};
    }
    // Until a successor serves; then to the end of what was accepted here.
    [[nodiscard]] bool retire() {
        if (!eventually([&] { return taken_.load(); })) return false;
        relay_->close_all_listeners();
        return relay_->wait_until_idle(kLongest);
    }
    [[nodiscard]] const Relay& relay() const { return *relay_; }
    [[nodiscard]] int failed() const { return failed_; }
    [[nodiscard]] std::uint64_t served() const { return relay_->metrics(service_).value().connections_opened; }

  private:
    struct Kept {
        std::string name;
        net::Protocol protocol;
        ListenerId listener;
    };
    ListenerId keep(std::string_view name, net::Protocol protocol, const Result<ListenerId>& listener) {
        EXPECT_TRUE(listener);
        kept_.push_back({std::string(name), protocol, *listener});
        return *listener;
    }
    static std::string protocol_name(net::Protocol protocol) { return std::string(net::protocol_name(protocol)); }
    HandoverCallbacks callbacks() {
        return {.successor_came = [this]() -> Result<std::vector<NamedListener>> {
                    std::vector<NamedListener> listeners;
                    for (const auto& kept : kept_) {
                        ASSIGN_OR_RETURN(auto sockets, relay_->duplicate(kept.listener));
                        listeners.push_back({kept.name, kept.protocol, std::move(sockets)});
                    }
                    return listeners;
                },
                .taken = [this] { taken_ = true; },
                .successor_failed = [this](const Error&) { ++failed_; }};
    }

    std::unique_ptr<Relay> relay_;
    ServiceId service_{};
    std::vector<Kept> kept_;
    std::atomic<bool> taken_ = false;
    std::atomic<int> failed_ = 0;
    std::unique_ptr<HandoverServer> server_;  // last: its thread uses the others
};

// A child that waits for its turn. Made before this process has threads.
class Child {
  public:
    template <typename Body>
    explicit Child(Body body) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
        ours_ = Fd(ends[0]);
        Fd theirs(ends[1]);
        pid_ = ::fork();
        if (pid_ != 0) return;
        ours_.reset();
        std::uint16_t endpoint = 0;
        if (::recv(theirs.get(), &endpoint, sizeof endpoint, 0) != sizeof endpoint) ::_exit(2);
        ::_exit(body(theirs, Pool{.endpoints = {loopback(net::Family::kIpv4, endpoint)}}));
    }
    ~Child() { kill(); }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    // Lets it begin, and waits until it says a byte.
    [[nodiscard]] char start(std::uint16_t endpoint) const {
        const timeval limit{kLongest.count(), 0};
        ::setsockopt(ours_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        if (::send(ours_.get(), &endpoint, sizeof endpoint, MSG_NOSIGNAL) < 0) return '!';
        char said = '?';
        return ::recv(ours_.get(), &said, 1, 0) == 1 ? said : '!';
    }
    void kill() {
        if (pid_ > 0) ::kill(pid_, SIGKILL);
        end();
    }
    // Its exit code; -1: it was killed.
    int end() {
        if (pid_ <= 0) return code_;
        ours_.reset();
        int status = 0;
        ::waitpid(std::exchange(pid_, 0), &status, 0);
        code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        return code_;
    }

  private:
    Fd ours_;
    pid_t pid_ = 0;
    int code_ = -1;
};

void say(const Fd& parent, char what) { static_cast<void>(::send(parent.get(), &what, 1, MSG_NOSIGNAL)); }

class HandoverProcess : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = std::filesystem::temp_directory_path() / "handover-XXXXXX";
        folder_ = ::mkdtemp(name.data());
        path_ = folder_ / "socket";
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    // Serves what was handed over until the next one does, or its parent has gone.
    [[nodiscard]] int succeed_and_serve(const Fd& parent, Pool pool) const {
        Owner owner(std::move(pool));
        if (const auto done = owner.succeed(path_); !done) {
            std::fprintf(stderr, "successor: %s\n", done.error().message.c_str());
            say(parent, 'e');
            return 3;
        }
        say(parent, 's');
        return owner.retire() ? 0 : 4;
    }
    [[nodiscard]] std::vector<std::unique_ptr<Child>> row(int count) const {
        std::vector<std::unique_ptr<Child>> children(static_cast<std::size_t>(count));
        for (auto& child : children)
            child = std::make_unique<Child>(
                [this](const Fd& parent, Pool pool) { return succeed_and_serve(parent, std::move(pool)); });
        return children;
    }

    std::filesystem::path folder_;
    std::string path_;
};

TEST_F(HandoverProcess, NobodyIsRefusedWhileTenProcessesFollowOneAnother) {
    auto children = row(10);
    const NamedServer server('s');
    std::optional<Owner> first(std::in_place, Pool{.endpoints = {server.address()}});
    const auto address = first->relay().address(first->listen(net::Protocol::kTcp)).value();
    const auto opened = first->open(path_);
    ASSERT_TRUE(opened) << opened.error().message;
    Stream stream(address);
    ASSERT_TRUE(stream.more(50));
    for (auto& child : children) {
        ASSERT_EQ(child->start(server.address().port), 's');
        if (first) {
            EXPECT_TRUE(first->retire()) << "what it had accepted ends by itself";
            first.reset();
        }
        ASSERT_TRUE(stream.more(50));
    }
    stream.stop();
    EXPECT_EQ(stream.lost(), 0) << "of " << stream.answered();
    for (std::size_t i = 0; i + 1 < children.size(); ++i) EXPECT_EQ(children[i]->end(), 0) << i;
    children.back()->kill();
    EXPECT_FALSE(connect_to(address));
}

TEST_F(HandoverProcess, DatagramsReachOneOfThem) {
    auto children = row(3);
    const NamedUdpServer server('u');
    std::optional<Owner> first(std::in_place, Pool{.endpoints = {server.address()}});
    const auto address = first->relay().address(first->listen(net::Protocol::kUdp)).value();
    ASSERT_TRUE(first->open(path_));
    Stream stream(address, net::Protocol::kUdp);
    ASSERT_TRUE(stream.more(50));
    for (auto& child : children) {
        ASSERT_EQ(child->start(server.address().port), 's');
        if (first) {
            EXPECT_TRUE(first->retire());
            first.reset();
        }
        ASSERT_TRUE(stream.more(50));
    }
    stream.stop();
    EXPECT_EQ(stream.lost(), 0) << "of " << stream.answered();
    children.back()->kill();
}

TEST_F(HandoverProcess, ASuccessorThatIsKilledChangesNothing) {
    // It adopts and serves, and never gets to the end.
    const auto half_way = [this](const Fd& parent, Pool pool) {
        auto handover = Handover::ask(path_, kLongest);
        if (!handover || !*handover) return 3;
        const auto relay = Relay::start({.threads = 1}).value();
        const auto service = relay->add_service(std::move(pool));
        for (auto& [name, listener] : (*handover)->listeners())
            static_cast<void>(relay->adopt({.service = service}, std::move(listener.sockets)));
        say(parent, 'h');
        for (;;) ::pause();
        return 0;
    };
    Child without_relay([this](const Fd& parent, const Pool&) {
        const auto handover = Handover::ask(path_, kLongest);
        say(parent, handover && *handover ? 'h' : 'e');
        for (;;) ::pause();
        return 0;
    });
    Child with_relay(half_way);
    auto good = row(1);
    const NamedServer server('s');
    Owner owner({.endpoints = {server.address()}});
    const auto address = owner.relay().address(owner.listen(net::Protocol::kTcp)).value();
    ASSERT_TRUE(owner.open(path_));
    {
        Stream stream(address);
        ASSERT_EQ(without_relay.start(server.address().port), 'h');
        ASSERT_TRUE(stream.more(50));
        without_relay.kill();
        EXPECT_TRUE(eventually([&] { return owner.failed() == 1; }));
        ASSERT_TRUE(stream.more(50));
        stream.stop();
        EXPECT_EQ(stream.lost(), 0) << "of " << stream.answered();
    }
    // What the killed one had accepted itself is lost with it; nobody after that.
    ASSERT_EQ(with_relay.start(server.address().port), 'h');
    with_relay.kill();
    EXPECT_TRUE(eventually([&] { return owner.failed() == 2; }));
    Stream stream(address);
    ASSERT_TRUE(stream.more(50));
    ASSERT_EQ(good.front()->start(server.address().port), 's');
    EXPECT_TRUE(owner.retire());
    ASSERT_TRUE(stream.more(50));
    stream.stop();
    EXPECT_EQ(stream.lost(), 0) << "of " << stream.answered();
    good.front()->kill();
}

}  // namespace
}  // namespace ghostip::relay::testing

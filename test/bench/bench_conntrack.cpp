// What it costs to remove the UDP flows that a change made wrong, in a full conntrack table: bench_conntrack [ENTRIES]
//
// 500,000 entries unless told otherwise, in network namespaces of its own (nothing of the machine's is touched). The
// kernel's limit (nf_conntrack_max) counts for each namespace and can only be changed in the machine's own, so that
// entries beyond it go into further namespaces: their table is one, and a list walks all of it. Half of the flows are
// to destinations of ours, 1,000 of them; one in ten of those is answered by an endpoint that left.
//
// Each figure is the median of a few runs, and its ratio to the list without a filter that the same run made: what
// there is to pay where a program asks for everything and looks for itself.
#include <linux/netlink.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "agent/flow_cleaner.h"
#include "kernel/conntrack/linux.h"
#include "kernel/conntrack/messages.h"
#include "kernel/conntrack_entries.h"
#include "support/namespace.h"

namespace {

using namespace ghostip;
using kernel::conntrack::Entry;
using kernel::conntrack::Filter;
using kernel::conntrack::LinuxConntrack;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kEntries = 500000;
constexpr std::uint32_t kDestinations = 1000;
constexpr std::uint32_t kReserve = 2000;  // of the limit: the kernel drops flows early when it is reached
constexpr int kRuns = 7;
constexpr std::chrono::minutes kPatience{5};

template <typename T>
T must(Result<T> result) {
    if (!result) {
        fmt::print(stderr, "{}\n", result.error().message);
        std::exit(1);
    }
    return std::move(result).value();
}
void must(const Result<void>& result) {
    if (result) return;
    fmt::print(stderr, "{}\n", result.error().message);
    std::exit(1);
}

net::IpAddress ipv4(std::uint32_t value) {
    const std::array<std::uint8_t, 4> bytes{static_cast<std::uint8_t>(value >> 24U),
                                            static_cast<std::uint8_t>(value >> 16U),
                                            static_cast<std::uint8_t>(value >> 8U), static_cast<std::uint8_t>(value)};
    return net::IpAddress::from_bytes(net::Family::kIpv4, bytes.data());
}

const auto kEndpoint = ipv4(0x0a000001);
const auto kLeft = ipv4(0x0a000002);
plan::AddressPort destination(std::uint32_t n) { return {ipv4(0xac1e0000 + n), 53}; }

// The n-th flow: of two one is ours.
testnet::NewEntry flow(std::uint32_t n) {
    testnet::NewEntry entry;
    const kernel::conntrack::End client{ipv4(0x0a800000 + n / 20000), static_cast<std::uint16_t>(10000 + n % 20000)};
    const bool ours = n % 2 == 0;
    const std::uint32_t which = n / 2 % kDestinations;
    const bool wrong = n / 2 / kDestinations % 10 == 0;
    const auto dialled = destination(which);
    entry.original = {client, {ours ? dialled.address : ipv4(0x08000000 + which), 53}};
    entry.reply = {ours ? kernel::conntrack::End{wrong ? kLeft : kEndpoint, 5353} : entry.original.destination, client};
    return entry;
}

void fill(const testnet::Namespace& where, std::uint32_t from, std::uint32_t until) {
    const auto inside = where.enter();
    auto maker = must(testnet::ConntrackMaker::open());
    std::vector<testnet::NewEntry> some;
    for (std::uint32_t n = from; n < until; ++n) {
        some.push_back(flow(n));
        if (some.size() == 1024 || n + 1 == until) {
            must(maker.make(some));
            some.clear();
        }
    }
}

std::uint32_t limit_of(const testnet::Namespace& where) {
    const auto inside = where.enter();
    std::ifstream file("/proc/sys/net/netfilter/nf_conntrack_max");
    std::uint32_t limit = 0;
    return file >> limit && limit != 0 ? limit : kEntries + kReserve;
}

double milliseconds_of(const std::function<void()>& work) {
    const auto start = Clock::now();
    work();
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}
double median_milliseconds(int runs, const std::function<void(int)>& work) {
    std::vector<double> times;
    for (int i = 0; i < runs; ++i) times.push_back(milliseconds_of([&] { work(i); }));
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

// Everything out, and read.
std::size_t list_without_filter(int socket) {
    alignas(nlmsghdr) std::array<char, kernel::conntrack::kRequestBytes> request{};
    static std::vector<char> buffer(1 << 16);
    static std::uint32_t sequence = 0;
    const auto* header = kernel::conntrack::put_dump(request.data(), ++sequence, {net::Family::kIpv4, {}, {}},
                                                     kernel::conntrack::FilteredBy::kNobody);
    if (::send(socket, header, header->nlmsg_len, 0) < 0) std::exit(1);
    std::size_t entries = 0;
    while (true) {
        int left = static_cast<int>(::recv(socket, buffer.data(), buffer.size(), 0));
        if (left < 0) std::exit(1);
        for (auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(message, left);
             message = mnl_nlmsg_next(message, &left)) {
            if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) return entries;
            entries += kernel::conntrack::read_entry(message) ? 1 : 0;
        }
    }
}

void report(const char* what, double milliseconds, double whole) {
    fmt::print("{:<64} {:8.2f} ms {:7.3f}\n", what, milliseconds, milliseconds / whole);
}

}  // namespace

int main(int argc, char** argv) {
    const std::uint32_t wanted = argc > 1 ? static_cast<std::uint32_t>(std::strtoul(argv[1], nullptr, 10)) : kEntries;
    std::vector<testnet::Namespace> places;
    std::uint32_t made = 0;
    std::uint32_t measured = 0;
    while (made < wanted) {
        places.push_back(must(testnet::Namespace::create()));
        const std::uint32_t room = limit_of(places.back()) - kReserve;
        const std::uint32_t until = std::min(wanted, made + room);
        fill(places.back(), made, until);
        if (places.size() == 1) measured = until;
        made = until;
    }
    const auto inside = places.front().enter();
    std::ifstream buckets("/proc/sys/net/netfilter/nf_conntrack_buckets");
    std::string bucket_count;
    buckets >> bucket_count;
    fmt::print("{} entries in the table of {} buckets; {} in the namespace that is measured{}\n\n", made, bucket_count,
               measured, places.size() > 1 ? " (its limit; the rest is in others, walked over too)" : "");
    fmt::print("{:<64} {:>11} {:>7}\n", "", "time", "ratio");

    const Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
    const double whole = median_milliseconds(3, [&](int) {
        if (list_without_filter(socket.get()) != measured) fmt::print(stderr, "not all entries were listed\n");
    });
    report("list without a filter, each entry read", whole, whole);

    auto conntrack = must(LinuxConntrack::open());
    const auto nothing = [](const Entry&) { return false; };
    report("list of all UDP flows, none wanted",
           median_milliseconds(3,
                               [&](int) {
                                   static_cast<void>(must(conntrack->dump({net::Family::kIpv4, {}, {}}, nothing)));
                               }),
           whole);
    report(
        "list of a destination that has no flow (the walk alone)",
        median_milliseconds(
            kRuns,
            [&](int) {
                static_cast<void>(must(conntrack->dump({net::Family::kIpv4, kEndpoint, std::uint16_t{53}}, nothing)));
            }),
        whole);
    report("list of one destination, none wanted",
           median_milliseconds(kRuns,
                               [&](int) {
                                   static_cast<void>(must(conntrack->dump(
                                       {net::Family::kIpv4, destination(0).address, std::uint16_t{53}}, nothing)));
                               }),
           whole);

    agent::FlowCleanerConfig config;
    config.min_interval = std::chrono::milliseconds(0);
    agent::FlowCleaner cleaner(std::move(conntrack), config);
    const auto answerers =
        std::make_shared<const std::vector<plan::AddressPort>>(std::vector<plan::AddressPort>{{kEndpoint, 5353}});
    const auto clean = [&](std::uint32_t from, std::uint32_t until) {
        plan::StaleFlows stale;
        for (std::uint32_t n = from; n < until; ++n) stale.set(destination(n), answerers);
        cleaner.submit(net::Family::kIpv4, std::move(stale));
        if (!cleaner.wait_idle(kPatience)) fmt::print(stderr, "the cleaner did not end\n");
    };
    const double one = median_milliseconds(kRuns, [&](int i) {
        const auto n = static_cast<std::uint32_t>(i);
        clean(n, n + 1);
    });
    const auto removed_by_one = cleaner.counts().removed / kRuns;
    report(fmt::format("1 destination cleaned, {} flows removed", removed_by_one).c_str(), one, whole);
    const auto before = cleaner.counts();
    const double many = milliseconds_of([&] { clean(kRuns, kDestinations); });
    report(fmt::format("{} destinations cleaned, {} flows removed, {} list{}", kDestinations - kRuns,
                       cleaner.counts().removed - before.removed, cleaner.counts().dumps - before.dumps,
                       cleaner.counts().dumps - before.dumps == 1 ? "" : "s")
               .c_str(),
           many, whole);
    const auto listed = cleaner.counts();
    const double again = milliseconds_of([&] { clean(0, kDestinations); });
    report(fmt::format("{} destinations, nothing wrong", kDestinations).c_str(), again, whole);
    const auto end = cleaner.counts();
    if (end.removed != listed.removed) fmt::print(stderr, "something was left to remove\n");
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    fmt::print("\n{} failures; peak memory of the process {} MiB\n", end.failures, usage.ru_maxrss / 1024);
    return end.failures == 0 ? 0 : 1;
}

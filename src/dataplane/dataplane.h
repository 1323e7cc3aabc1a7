// The one interface of all dataplanes: a plan goes in, kernel objects come out. No policy in here.
//
// One instance serves one family, in the network namespace that its thread was in when it was opened. Owned by one
// thread. After an error some of what was asked for may be in the kernel, each service port either wholly or not at
// all; the caller then asks for reconcile() with the whole plan.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "dataplane/relay_options.h"
#include "net/prefix.h"
#include "plan/explain.h"
#include "plan/plan.h"
#include "plan/stale_flows.h"

namespace ghostip::dataplane {

// An object that the kernel did not take; what it had before stays, and everything else goes on.
struct SetAside {
    std::string object;  // "default/web:http"
    std::string reason;
};

// What is left to be done after a change: slow (it reads what may be large), harmless when late. May run on another
// thread than the dataplane's, but only one at a time, and not after the dataplane is gone.
using SlowWork = std::function<Result<void>()>;

// Rules of one part of what a mode writes; an iptables table, for instance.
struct RuleCount {
    std::string part;           // "nat"
    std::uint64_t total = 0;    // that serve the plan now, written by this call or before
    std::uint64_t written = 0;  // by this call, less those that it removed
};

// What a call did.
struct Outcome {
    std::uint32_t transactions = 0;
    std::vector<std::chrono::steady_clock::duration> transaction_times;  // how long the kernel took for each
    std::uint64_t elements_added = 0;                                    // or whatever the mode's smallest parts are
    std::uint64_t elements_deleted = 0;                                  // likewise
    std::uint64_t differences = 0;      // reconcile and repair: in how many things the kernel differed from the plan
    std::vector<std::string> examples;  // the first few of them, one line each
    std::vector<SetAside> set_aside;    // by this call
    std::vector<RuleCount> rules;       // of modes that count them
    std::vector<SlowWork> later;
    // UDP flows that this call made wrong, where the mode's rules lead elsewhere than the plan's pools say: then these
    // count, and what is found by the plan does not. Absent: the plan's.
    std::optional<plan::StaleFlows> flows;

    // Counts a transaction that began at `start` and is in the kernel now.
    void committed(std::chrono::steady_clock::time_point start) {
        ++transactions;
        transaction_times.push_back(std::chrono::steady_clock::now() - start);
    }
};

// Somebody else wrote to what is ours.
struct ForeignWrite {
    net::Family family = net::Family::kIpv4;
    std::uint32_t process_id = 0;       // as the kernel tells; 0 = it does not
    std::string process_name;           // likewise
    std::string what;                   // "2 elements of endpoints deleted"
    std::shared_ptr<const void> where;  // what the dataplane needs to look there; null: look everywhere
};

// Tells of foreign writes, through the kernel's own notifications where it has some. Used by one thread, not the
// dataplanes'.
class DriftWatch {
  public:
    virtual ~DriftWatch() = default;
    // Waits for one, or until `stop_fd` becomes readable (then the list is empty). An error: notifications have ended.
    [[nodiscard]] virtual Result<std::vector<ForeignWrite>> wait(int stop_fd) = 0;
    // Around a large change of ours, where being told costs much. From any thread.
    [[nodiscard]] virtual Result<void> pause() { return {}; }
    // True: nobody else wrote meanwhile, where we committed so many transactions.
    [[nodiscard]] virtual Result<bool> resume(std::uint32_t /*own_transactions*/) { return true; }
    // False: it tells of some writes only; looking has to find the others.
    [[nodiscard]] virtual bool tells_all() const { return true; }
};

// What was sent to a destination and came back from it, in packets and their bytes, since it was programmed.
struct DestinationCount {
    plan::DestinationKey key;
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
};
struct DestinationCounts {
    std::vector<DestinationCount> counts;
    // False: some may be missing, and some stand there twice.
    bool complete = true;
};

class Dataplane {
  public:
    virtual ~Dataplane() = default;

    // Makes the kernel hold exactly `plan`, whatever it holds now: reads it and writes what differs, in transactions
    // short enough for other writers. What is the same is not touched.
    [[nodiscard]] virtual Result<Outcome> reconcile(const plan::Plan& plan) = 0;
    // Applies what changed since the last successful call, in time proportional to the delta.
    [[nodiscard]] virtual Result<Outcome> apply(const plan::Delta& delta) = 0;
    // Looks where others wrote and puts back what `plan`, which was applied before, says. By default everywhere.
    [[nodiscard]] virtual Result<Outcome> repair(const plan::Plan& plan, std::span<const ForeignWrite> /*writes*/) {
        return reconcile(plan);
    }
    // What looks at everything that the kernel holds: slow, so on another thread, under the conditions of SlowWork.
    // What it brings is for check(), of this instance.
    using Sight = std::shared_ptr<const void>;
    [[nodiscard]] virtual std::function<Result<Sight>()> look(const plan::Plan& /*plan*/) const {
        return [] { return Result<Sight>(Sight()); };
    }
    // Puts back what `plan`, which was applied before, says, where `sight` looks otherwise and it is still so. By
    // default looks itself.
    [[nodiscard]] virtual Result<Outcome> check(const plan::Plan& plan, const Sight& /*sight*/) {
        return reconcile(plan);
    }
    // Objects that the kernel refuses at present.
    [[nodiscard]] virtual std::vector<SetAside> set_aside() const { return {}; }
    // What reads the counts of all destinations. Runs on any one thread at a time beside the dataplane's, also when the
    // dataplane is gone. Empty: nothing is counted, because nobody asked for it or the mode or the host cannot.
    using CountReader = std::function<Result<DestinationCounts>()>;
    [[nodiscard]] virtual CountReader count_reader() const { return nullptr; }
    // Which of Mode::variants this is; empty: the mode has none. From any thread.
    [[nodiscard]] virtual std::string_view variant_name() const { return {}; }
    // Who writes to the kernel: itself, or the one that it stands before. Null: nobody does.
    [[nodiscard]] virtual Dataplane* writer() { return this; }
    // What somebody should know who has just opened it, a sentence each.
    [[nodiscard]] virtual std::vector<std::string> remarks() const { return {}; }
};

// What the kernel holds for one packet, beside what the plan says of it.
struct Sighting {
    std::vector<std::string> found;        // what is there, in the mode's own language, in the packet's order
    std::vector<std::string> differences;  // one sentence each; empty: it agrees with the plan
};

// Packets that a mode's own rules count, by the name that the mode gives the counter.
struct PacketCount {
    std::string name;
    std::uint64_t packets = 0;
    // Absent: counted together.
    std::optional<net::Family> family = {};
    std::optional<net::Protocol> protocol = {};
};
// The name where a relay serves node ports at localhost: packets to those of protocols that it does not carry.
inline constexpr std::string_view kLocalhostNodePortsRejected = "localhost_node_ports_rejected";

// Whether a call of a dataplane is over in milliseconds, or runs programs that may take seconds.
enum class Calls : std::uint8_t { kQuick, kRunPrograms };

// What only a mode with virtual servers of IPVS has (KubeProxyConfiguration `ipvs`).
struct IpvsOptions {
    std::string scheduler = "rr";            // of service ports that name none
    bool strict_arp = false;                 // the addresses of Services are not told to neighbours that ask (ARP)
    std::vector<net::Prefix> exclude_cidrs;  // virtual servers with such an address are never touched
    // Of connections in IPVS; 0: as the kernel has it.
    std::chrono::seconds tcp_timeout{};
    std::chrono::seconds tcp_fin_timeout{};
    std::chrono::seconds udp_timeout{};
};

// What is asked of a mode, beside a plan.
struct Options {
    std::string variant = {};     // one of Mode::variants; empty: as this host's rules tell
    bool count_services = false;  // count packets and bytes of each destination, where that can be done
    IpvsOptions ipvs = {};
    RelayOptions relay = {};
};

// One mode: a row of the table in agent/modes.cpp.
struct Mode {
    std::string_view name;  // as --proxy-mode takes it
    const plan::ModeProfile& (*profile)();
    Calls calls = Calls::kQuick;
    // Of linux/capability.h: what it needs while it runs.
    std::span<const int> capabilities;
    // The same rules in different parts of the kernel; empty: there is one way only.
    std::span<const std::string_view> variants;
    // What this host lacks for the mode, one sentence each; empty = it can.
    std::vector<std::string> (*missing)(net::Family family, const Options& options);
    Result<std::unique_ptr<Dataplane>> (*open)(net::Family family, const Options& options);
    // Watches what these instances of this mode wrote. Null if the mode cannot.
    Result<std::unique_ptr<DriftWatch>> (*watch)(std::span<Dataplane* const> instances);
    // What would be programmed, readable, for people.
    std::string (*render)(const plan::Plan& plan);
    // Reads back what the kernel holds for this packet. Null if the mode cannot.
    Result<Sighting> (*sight)(const plan::Plan& plan, const plan::Journey& journey, const Options& options);
    // Removes every trace of the mode from this network namespace; fine when there is none. `kept`: a sentence for each
    // thing that stays because somebody else's needs it.
    Result<void> (*cleanup)(std::vector<std::string>& kept);
    // Whether `auto` may mean it. Not for one that somebody has to want.
    bool automatic = true;
    // Reads the packets that the mode counts besides, of both families; from any thread, at most one at a time; what
    // the host does not count is left out. Null: the mode counts none.
    std::vector<PacketCount> (*packet_counts)() = nullptr;
    // The mode by whose rules this one serves, and which is therefore not "another mode"; empty: its own.
    std::string_view rules_of = {};
};

}  // namespace ghostip::dataplane

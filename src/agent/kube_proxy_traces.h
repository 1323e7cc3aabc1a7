// Removes what other modes left on a node, those of Kubernetes' own kube-proxy and ghostip's, so that their rules,
// which nobody updates any more, no longer answer. docs/cleanup.md is the exact list. Blocks, runs other programs; not
// for the loop's thread.
//
// The rules of what serves the node now stay. Established connections stay: conntrack knows their translation and asks
// no rule. Those that IPVS carries would be cut with its virtual servers, so these can wait until they carry none.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/subprocess.h"
#include "kernel/ipvs/removal.h"
#include "kernel/nft/other_chains.h"
#include "net/address.h"

namespace ghostip::agent {

// What there is to ask and to do, so that tests can stand in for a host.
class TraceHost {
  public:
    virtual ~TraceHost() = default;
    virtual Result<Finished> run(const Program& program) = 0;
    // False: there is no such table of nf_tables.
    virtual Result<bool> delete_nft_table(net::Family family, const std::string& table) = 0;
    virtual Result<std::vector<kernel::nft::ChainName>> nft_chains() = 0;
    // Tables of iptables-legacy that the kernel has made.
    virtual std::vector<std::string> legacy_tables(net::Family family) = 0;
    // The virtual servers that the sets of the ipvs mode name, which are kube-proxy's or ours; absent: there is no
    // IPVS.
    virtual Result<std::optional<kernel::ipvs::Servers>> ipvs_servers() = 0;
    virtual Result<void> delete_ipvs_servers() = 0;
    virtual Result<bool> dummy_device_exists(const std::string& name) = 0;
    virtual Result<bool> delete_dummy_device(const std::string& name) = 0;
    virtual bool sets_available() = 0;
    virtual Result<bool> set_exists(const std::string& name) = 0;
    virtual Result<bool> destroy_set(const std::string& name) = 0;
    virtual void pause(std::chrono::milliseconds time) = 0;
};
// The network namespace of the calling thread.
[[nodiscard]] std::unique_ptr<TraceHost> linux_trace_host();

struct Removed {
    std::vector<std::string> removed;    // one phrase each: "table ip kube-proxy"
    std::vector<std::string> kept;       // one sentence each
    std::vector<Error> failed;           // the rest was removed all the same
    std::uint64_t ipvs_connections = 0;  // kIdle: so many are still carried, and IPVS was not touched
};

enum class Ipvs : std::uint8_t { kNow, kIdle };
// Whose traces go: everybody's, or only those that say that they are ghostip's.
enum class Whose : std::uint8_t { kEverybodys, kOurs };

struct TraceScope {
    Whose whose = Whose::kEverybodys;
    // What serves the node now, as the table of modes names it; empty: nothing, and all goes but ghostip's nftables
    // mode, whose own cleanup is another one.
    std::string mode = {};
    std::string variant = {};
    Ipvs ipvs = Ipvs::kNow;
};
[[nodiscard]] Removed remove_traces(TraceHost& host, const TraceScope& scope);

}  // namespace ghostip::agent

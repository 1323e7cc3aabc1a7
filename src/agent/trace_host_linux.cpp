// The TraceHost that is this machine.
#include <algorithm>
#include <cerrno>
#include <fstream>
#include <string>
#include <thread>

#include "agent/kube_proxy_traces.h"
#include "dataplane/ipvs/cleanup.h"
#include "kernel/ipset/linux.h"
#include "kernel/ipvs/linux.h"
#include "kernel/link/linux.h"
#include "kernel/nft/linux.h"

namespace ghostip::agent {
namespace {

class LinuxTraceHost : public TraceHost {
  public:
    Result<Finished> run(const Program& program) override { return ghostip::run(program); }

    Result<bool> delete_nft_table(net::Family family, const std::string& table) override {
        ASSIGN_OR_RETURN(const auto kernel, kernel::nft::LinuxKernel::open());
        const auto done = kernel->commit({{family, table, {}}, {kernel::nft::DeleteTable{}}});
        if (done) return true;
        if (done.error().code == ENOENT) return false;
        return done.error();
    }

    Result<std::vector<kernel::nft::ChainName>> nft_chains() override { return kernel::nft::chain_names(); }

    std::vector<std::string> legacy_tables(net::Family family) override {
        std::ifstream file(family == net::Family::kIpv4 ? "/proc/thread-self/net/ip_tables_names"
                                                        : "/proc/thread-self/net/ip6_tables_names");
        std::vector<std::string> names;
        for (std::string name; file >> name;) names.push_back(name);
        return names;
    }

    Result<std::optional<kernel::ipvs::Servers>> ipvs_servers() override {
        if (!kernel::ipvs::available() || !kernel::ipvs::sets_available())
            return std::optional<kernel::ipvs::Servers>();
        ASSIGN_OR_RETURN(const auto kernel, open_ipvs());
        ASSIGN_OR_RETURN(const auto own, dataplane::ipvs::own_servers(*kernel.ipvs, *kernel.sets, *kernel.links));
        ASSIGN_OR_RETURN(const auto servers, kernel::ipvs::count(*kernel.ipvs, own));
        return std::optional(servers);
    }
    Result<void> delete_ipvs_servers() override {
        ASSIGN_OR_RETURN(const auto kernel, open_ipvs());
        return dataplane::ipvs::clean_servers(*kernel.ipvs, *kernel.sets, *kernel.links);
    }
    Result<bool> dummy_device_exists(const std::string& name) override {
        return kernel::ipvs::dummy_device_exists(name);
    }
    Result<bool> delete_dummy_device(const std::string& name) override {
        return kernel::ipvs::delete_dummy_device(name);
    }
    Result<bool> set_exists(const std::string& name) override {
        ASSIGN_OR_RETURN(const auto sets, kernel::ipset::LinuxSets::open());
        ASSIGN_OR_RETURN(const auto headers, sets->headers());
        return std::any_of(headers.begin(), headers.end(), [&](const auto& set) { return set.name == name; });
    }
    bool sets_available() override { return kernel::ipvs::sets_available(); }
    Result<bool> destroy_set(const std::string& name) override { return kernel::ipvs::destroy_set(name); }
    void pause(std::chrono::milliseconds time) override { std::this_thread::sleep_for(time); }

  private:
    struct Ipvs {
        std::unique_ptr<kernel::ipvs::LinuxIpvs> ipvs;
        std::unique_ptr<kernel::ipset::LinuxSets> sets;
        std::unique_ptr<kernel::link::LinuxLinks> links;
    };
    static Result<Ipvs> open_ipvs() {
        Ipvs opened;
        ASSIGN_OR_RETURN(opened.ipvs, kernel::ipvs::LinuxIpvs::open());
        ASSIGN_OR_RETURN(opened.sets, kernel::ipset::LinuxSets::open());
        ASSIGN_OR_RETURN(opened.links, kernel::link::LinuxLinks::open());
        return opened;
    }
};

}  // namespace

std::unique_ptr<TraceHost> linux_trace_host() { return std::make_unique<LinuxTraceHost>(); }

}  // namespace ghostip::agent

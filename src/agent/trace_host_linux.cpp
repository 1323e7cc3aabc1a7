// The TraceHost that is this machine.
#include <cerrno>
#include <fstream>
#include <string>
#include <thread>

#include "agent/kube_proxy_traces.h"
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

    Result<std::optional<kernel::ipvs::Servers>> ipvs_servers() override { return kernel::ipvs::servers(); }
    Result<void> flush_ipvs_servers() override { return kernel::ipvs::flush_servers(); }
    Result<bool> dummy_device_exists(const std::string& name) override {
        return kernel::ipvs::dummy_device_exists(name);
    }
    Result<bool> delete_dummy_device(const std::string& name) override {
        return kernel::ipvs::delete_dummy_device(name);
    }
    bool sets_available() override { return kernel::ipvs::sets_available(); }
    Result<bool> destroy_set(const std::string& name) override { return kernel::ipvs::destroy_set(name); }
    void pause(std::chrono::milliseconds time) override { std::this_thread::sleep_for(time); }
};

}  // namespace

std::unique_ptr<TraceHost> linux_trace_host() { return std::make_unique<LinuxTraceHost>(); }

}  // namespace ghostip::agent

#include "agent/ipvs_settings.h"

#include <sys/utsname.h>

#include <cerrno>
#include <charconv>

#include "base/log.h"
#include "kernel/ipvs/linux.h"
#include "kernel/sysctl/linux.h"

namespace ghostip::agent {
namespace {

const std::string kIpv4 = "/proc/sys/net/ipv4/";
constexpr KernelVersion kFirstToReuse{5, 9};
constexpr KernelVersion kFirstWithReuse{4, 1};

std::uint32_t seconds(std::chrono::seconds time) { return static_cast<std::uint32_t>(time.count()); }

}  // namespace

KernelVersion parse_kernel_version(std::string_view release) {
    KernelVersion version;
    const char* const end = release.data() + release.size();
    const auto major = std::from_chars(release.data(), end, version.major);
    if (major.ec == std::errc() && major.ptr != end && *major.ptr == '.')
        (void)std::from_chars(major.ptr + 1, end, version.minor);
    return version;
}

std::vector<IpvsSysctl> ipvs_sysctls(const dataplane::IpvsOptions& options, const KernelVersion& kernel) {
    std::vector<IpvsSysctl> list{
        {kIpv4 + "vs/conntrack", 1, "answers of endpoints are not translated back without it"},
        // An endpoint that went does not get the rest of its connections, nor do clients stick to one of weight 0.
        {kIpv4 + "vs/expire_nodest_conn", 1},
        {kIpv4 + "vs/expire_quiescent_template", 1},
        {kIpv4 + "ip_forward", 1, "endpoints elsewhere are not reached without it"},
    };
    // A client that takes a port anew while IPVS still knows the connection that it had: 1 lets the scheduler choose
    // again, so that it does not meet an endpoint that leaves (kubernetes/kubernetes#81775). Before 5.9 the kernel
    // first dropped the packet, which costs the client a second; 0 is the lesser evil there.
    if (kernel >= kFirstWithReuse) list.push_back({kIpv4 + "vs/conn_reuse_mode", kernel >= kFirstToReuse ? 1 : 0});
    if (options.strict_arp) {
        constexpr std::string_view kWhy = "ipvs.strictARP asks for it";
        list.push_back({kIpv4 + "conf/all/arp_ignore", 1, kWhy});
        list.push_back({kIpv4 + "conf/all/arp_announce", 2, kWhy});
    }
    return list;
}

Result<void> apply_ipvs_settings(const dataplane::IpvsOptions& options, const KernelVersion& kernel,
                                 kernel::sysctl::Sysctl& sysctl, kernel::ipvs::Ipvs& ipvs,
                                 std::vector<Error>& survived) {
    for (const auto& wanted : ipvs_sysctls(options, kernel)) {
        const auto current = sysctl.read(wanted.path);
        if (current && *current == wanted.value) continue;
        auto written = sysctl.write(wanted.path, wanted.value);
        if (written) continue;
        if (!wanted.needed_for.empty())
            return fail("{}; {}: the host's administrator has to set it to {}", written.error().message,
                        wanted.needed_for, wanted.value);
        survived.push_back(std::move(written).error());
    }
    const kernel::ipvs::Timeouts timeouts{seconds(options.tcp_timeout), seconds(options.tcp_fin_timeout),
                                          seconds(options.udp_timeout)};
    if (timeouts == kernel::ipvs::Timeouts{}) return {};
    if (auto set = ipvs.set_timeouts(timeouts); !set)
        survived.push_back(set.error().within("ipvs.tcpTimeout, ipvs.tcpFinTimeout, ipvs.udpTimeout"));
    return {};
}

Result<void> apply_ipvs_settings(const dataplane::IpvsOptions& options) {
    const auto ipvs = kernel::ipvs::LinuxIpvs::open();
    if (!ipvs) return {};
    utsname name{};
    ::uname(&name);
    kernel::sysctl::LinuxSysctl sysctl;
    std::vector<Error> survived;
    auto done = apply_ipvs_settings(options, parse_kernel_version(name.release), sysctl, **ipvs, survived);
    for (const auto& error : survived)
        log::warning("{}; the kernel's value stays, which the host's administrator may have to set", error.message);
    return done;
}

}  // namespace ghostip::agent

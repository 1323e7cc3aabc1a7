#include "cli/proxy_settings.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/modes.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/proxy_plan.h"

namespace ghostip::cli {
namespace {

using namespace std::chrono_literals;
using agent::config::min_sync_period;
using agent::config::sync_period;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

Result<ProxySettings> settings_of(Invocation invocation, const std::vector<std::string>& words) {
    ProxyFlags flags;
    FlagSet set = proxy_flag_set(flags);
    ASSIGN_OR_RETURN(const auto parsed, set.parse(words));
    (void)parsed;
    return complete(invocation, flags, set);
}

ProxySettings settings(const std::vector<std::string>& words, Invocation invocation = Invocation::kKubeProxy) {
    auto result = settings_of(invocation, words);
    EXPECT_TRUE(result) << result.error().message;
    return result ? std::move(*result) : ProxySettings{};
}

class Settings : public ::testing::Test {
  public:
    Settings() {
        std::string name = (std::filesystem::temp_directory_path() / "proxy_settings_XXXXXX").string();
        folder_ = ::mkdtemp(name.data());
    }
    ~Settings() override { std::filesystem::remove_all(folder_); }
    Settings(const Settings&) = delete;
    Settings& operator=(const Settings&) = delete;

  protected:
    [[nodiscard]] std::string config(const std::string& body) const {
        std::ofstream(folder_ / "c.yaml")
            << "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
            << body;
        return "--config=" + (folder_ / "c.yaml").string();
    }

    std::filesystem::path folder_;
};

TEST_F(Settings, PortsOfDeprecatedFlagsCompleteAddresses) {
    EXPECT_EQ(settings({"--healthz-bind-address=::1"}).configuration.healthz_bind_address, "[::1]:10256");
    EXPECT_EQ(settings({"--healthz-port=5"}).configuration.healthz_bind_address, "0.0.0.0:10256") << "it has a port";
    EXPECT_EQ(settings({"--healthz-bind-address=1.2.3.4", "--healthz-port=5"}).configuration.healthz_bind_address,
              "1.2.3.4:5");
    EXPECT_EQ(settings({"--healthz-port=0"}).configuration.healthz_bind_address, "");
    EXPECT_EQ(settings({"--metrics-port=0"}).configuration.metrics_bind_address, "");
    EXPECT_EQ(settings({"--bind-address=::"}).configuration.healthz_bind_address, "0.0.0.0:10256")
        << "only a file's IPv6 bindAddress moves it";
}

TEST_F(Settings, AnEmptyPageAddressMeansNowhereUnderOurOwnName) {
    const std::vector<std::string> words{"--proxy-mode=nftables", "--healthz-bind-address=", "--metrics-bind-address="};
    EXPECT_EQ(settings(words).configuration.healthz_bind_address, "0.0.0.0:10256");
    EXPECT_TRUE(settings(words).own.serve_metrics);
    EXPECT_EQ(settings(words, Invocation::kGhostip).configuration.healthz_bind_address, "");
    EXPECT_FALSE(settings(words, Invocation::kGhostip).own.serve_metrics);
}

TEST_F(Settings, ServicesAreCountedForWhoAsks) {
    for (const auto invocation : {Invocation::kKubeProxy, Invocation::kGhostip}) {
        EXPECT_FALSE(settings({"--proxy-mode=nftables"}, invocation).own.service_counters);
        EXPECT_TRUE(settings({"--proxy-mode=nftables", "--service-counters"}, invocation).own.service_counters);
    }
}

TEST_F(Settings, PeriodsBelongToTheMode) {
    auto c = settings({"--proxy-mode=nftables"}).configuration;
    EXPECT_EQ(sync_period(c), 30s);
    EXPECT_EQ(min_sync_period(c).named, std::nullopt) << "nobody asked for a pause";
    c = settings({"--proxy-mode=nftables", "--iptables-sync-period=9s", "--iptables-min-sync-period=0",
                  "--ipvs-sync-period=8s"})
            .configuration;
    EXPECT_EQ(sync_period(c), 9s);
    EXPECT_EQ(min_sync_period(c).named, 0s);
    EXPECT_EQ(c.iptables.sync_period, 30s);
    c = settings(
            {"--proxy-mode=ipvs", "--iptables-sync-period=9s", "--ipvs-sync-period=8s", "--ipvs-min-sync-period=2s"})
            .configuration;
    EXPECT_EQ(sync_period(c), 8s);
    EXPECT_EQ(min_sync_period(c).named, 2s);
}

TEST_F(Settings, MasqueradingBelongsToTheMode) {
    auto c = settings({"--proxy-mode=nftables", "--masquerade-all", "--iptables-masquerade-bit=3"}).configuration;
    EXPECT_TRUE(c.nftables.masquerade_all);
    EXPECT_FALSE(c.iptables.masquerade_all);
    EXPECT_EQ(masquerade_bit(c), 14) << "kube-proxy's flag is not for nftables mode";
    c = settings({"--proxy-mode=nftables", "--iptables-masquerade-bit=3"}, Invocation::kGhostip).configuration;
    EXPECT_EQ(masquerade_bit(c), 3);
    c = settings({"--proxy-mode=iptables", "--masquerade-all", "--iptables-masquerade-bit=3"}).configuration;
    EXPECT_TRUE(c.iptables.masquerade_all);
    EXPECT_EQ(masquerade_bit(c), 3);
}

TEST_F(Settings, AFileReplacesFlagsButForAFew) {
    const auto got = settings({config("mode: nftables\nclusterCIDR: 10.0.0.0/8\nhostnameOverride: file\n"
                                      "logging: {verbosity: 1, vmodule: [{filePattern: f, verbosity: 1}]}\n"),
                               "--proxy-mode=ipvs", "--cluster-cidr=11.0.0.0/8", "--hostname-override= Flag ",
                               "--master=https://m", "-v3", "--vmodule=g=2", "--iptables-sync-period=9s"});
    const auto& c = got.configuration;
    EXPECT_EQ(c.mode, "nftables");
    EXPECT_EQ(c.cluster_cidr, "10.0.0.0/8");
    EXPECT_EQ(c.hostname_override, "flag");
    EXPECT_EQ(c.logging.verbosity, 3U);
    EXPECT_THAT(c.logging.vmodule, ElementsAre(agent::config::VmoduleItem{"g", 2}, agent::config::VmoduleItem{"f", 1}));
    EXPECT_EQ(sync_period(c), 30s);
    EXPECT_EQ(got.master, "https://m");
    EXPECT_TRUE(got.file_watch);
    EXPECT_THAT(got.notes, ElementsAre(EndsWith("replaces these flags: --proxy-mode, "
                                                "--iptables-sync-period, --cluster-cidr")));
}

TEST_F(Settings, NotesWhatIsIgnoredOnce) {
    EXPECT_THAT(settings({"--proxy-mode=nftables"}).notes, IsEmpty());
    EXPECT_THAT(
        settings({"--proxy-mode=nftables", "--config-sync-period=1m", "--boot-id-file=x", "--ipvs-strict-arp"}).notes,
        ElementsAre("accepted, and without meaning here: ipvs.strictARP, configSyncPeriod, --boot-id-file"));
    EXPECT_THAT(settings({config("mode: nftables\nnope: 1\n")}).notes,
                ElementsAre(StartsWith("Using lenient decoding as strict decoding failed: ")));
}

TEST_F(Settings, NoModeMeansIptablesOnlyUnderKubeProxysName) {
    EXPECT_EQ(settings({}).configuration.mode, "iptables");
    const auto own = settings_of(Invocation::kGhostip, {});
    if (own)  // where this host can do it
        EXPECT_EQ(own->configuration.mode, "nftables");
    else
        EXPECT_THAT(own.error().message, HasSubstr("this host supports no mode: nftables for IPv4: "));
}

// `auto` asks ghostip to choose, whatever its name; the log says what was chosen and why.
TEST_F(Settings, AutoIsTheBestMode) {
    for (const auto& words : {std::vector<std::string>{"--proxy-mode=auto"}, {config("mode: auto\n")}})
        for (const auto invocation : {Invocation::kGhostip, Invocation::kKubeProxy}) {
            const auto own = settings_of(invocation, words);
            if (!own) {  // where this host can do none
                EXPECT_THAT(own.error().message, HasSubstr("this host supports no mode: nftables for IPv4: "));
                continue;
            }
            EXPECT_TRUE(agent::find_mode(own->configuration.mode) != nullptr) << own->configuration.mode;
            EXPECT_THAT(own->notes, ElementsAre(StartsWith("mode " + own->configuration.mode +
                                                           ": none was named, and it is the best that this host")));
        }
}

TEST_F(Settings, VariantsBelongToModesThatHaveThem) {
    EXPECT_EQ(settings({"--proxy-mode=nftables", "--iptables-variant=auto"}).own.variant, "");
    EXPECT_EQ(settings({"--proxy-mode=nftables", "--iptables-variant=legacy"}).own.variant, "legacy");
    const auto plan = plan_proxy(settings({"--proxy-mode=nftables", "--iptables-variant=legacy"}));
    ASSERT_TRUE(plan) << "a node's flags stay as they are when its mode is changed";
    EXPECT_EQ(plan->options.variant, "");
}

TEST_F(Settings, ModesThatAreNotThereYetSaySo) {
    for (const char* mode : {"ebpf"}) {
        const auto plan = plan_proxy(settings({std::string("--proxy-mode=") + mode}));
        ASSERT_FALSE(plan) << mode;
        EXPECT_THAT(plan.error().message, StartsWith(std::string("mode ") + mode + " does not exist yet in ghostip"));
        EXPECT_THAT(plan.error().message, HasSubstr("--proxy-mode nftables"));
    }
    for (const char* mode : {"nftables", "iptables", "ipvs", "userspace"})
        EXPECT_TRUE(plan_proxy(settings({std::string("--proxy-mode=") + mode}))) << mode;
}

TEST_F(Settings, ThatMakeNoSenseAreRefused) {
    const auto error = [](const std::vector<std::string>& words) {
        const auto result = settings_of(Invocation::kKubeProxy, words);
        return result ? "none" : result.error().message;
    };
    EXPECT_EQ(error({"--hostname-override=  "}), "empty hostname-override is invalid");
    EXPECT_EQ(error({"--feature-gates=Nope=true"}), "unrecognized feature gate: Nope");
    EXPECT_THAT(error({"--config=/nonexistent/c"}), HasSubstr("/nonexistent/c"));
    EXPECT_THAT(error({config("mode: 5\n")}), HasSubstr("c.yaml:3: mode: 5: must be text"));
    EXPECT_THAT(error({"--watch-stall-limit=0"}), HasSubstr("--watch-stall-limit"));
}

struct Ended {
    int code;
    std::string out;
    std::string err;
};

Ended ended(Invocation invocation, const std::vector<std::string>& words) {
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int code = proxy(invocation, words);
    return {code, ::testing::internal::GetCapturedStdout(), ::testing::internal::GetCapturedStderr()};
}

TEST_F(Settings, EndTheProgramAsKubeProxyDoes) {
    const auto kube = [](const std::vector<std::string>& words) { return ended(Invocation::kKubeProxy, words); };
    EXPECT_EQ(kube({"--version"}).out, "Kubernetes v1.36.2\n");
    EXPECT_EQ(kube({"--version", "--version=v1.36.5"}).out, "Kubernetes v1.36.5\n");
    EXPECT_THAT(kube({"--version=raw"}).out, HasSubstr("GitVersion:\"v1.36.2\""));
    EXPECT_EQ(kube({"--help"}).code, kOk);
    auto got = kube({"--nope"});
    EXPECT_EQ(got.code, kFailed);
    EXPECT_THAT(got.err, StartsWith("Usage:\n  kube-proxy [flags]\n"));
    EXPECT_THAT(got.err, EndsWith("\nError: unknown flag: --nope\n"));
    got = kube({"x", ""});
    EXPECT_EQ(got.code, kFailed);
    EXPECT_EQ(got.err, "Error: \"kube-proxy\" does not take any arguments, got [\"x\"]\n");
    got = kube({"--bind-address=", "--feature-gates=Nope=true"});
    EXPECT_EQ(got.code, kFailed);
    EXPECT_THAT(got.err, HasSubstr("\"command failed\" err=\"failed complete: unrecognized feature gate: Nope\""));
    got = kube({"--logging-format=xml"});
    EXPECT_EQ(got.code, kFailed);
    EXPECT_THAT(got.err, HasSubstr("initialize logging: logging.format: Invalid value: \\\"xml\\\": Unsupported"));
    got = kube({"--metrics-port=0"});
    EXPECT_EQ(got.code, kFailed);
    EXPECT_THAT(got.err, HasSubstr("failed validate: KubeProxyConfiguration.MetricsBindAddress: Invalid value"));
    got = kube({config("mode: ebpf\n")});
    EXPECT_EQ(got.code, kFailed);
    EXPECT_THAT(got.err, HasSubstr("\"Error running ProxyServer\" err=\"mode ebpf does not exist yet"));
}

TEST_F(Settings, EndTheProgramAsGhostipDoes) {
    auto got = ended(Invocation::kGhostip, {"--kubeconfg=x"});
    EXPECT_EQ(got.code, kUsage);
    EXPECT_EQ(got.err, "ghostip: unknown flag: --kubeconfg; did you mean --kubeconfig?\nSee: ghostip proxy --help\n");
    got = ended(Invocation::kGhostip, {"x"});
    EXPECT_EQ(got.code, kUsage);
    got = ended(Invocation::kGhostip, {"--proxy-mode=nope"});
    EXPECT_EQ(got.code, kFailed);
    EXPECT_THAT(got.err, HasSubstr("KubeProxyConfiguration.Mode.ProxyMode: Invalid value: \"nope\""));
}

TEST_F(Settings, AreWrittenAndReadBack) {
    const auto first = (folder_ / "first.yaml").string();
    const auto second = (folder_ / "second.yaml").string();
    ASSERT_EQ(
        ended(Invocation::kKubeProxy, {"--write-config-to", first, "--proxy-mode=nftables", "--cluster-cidr=fd00::/8",
                                       "--iptables-min-sync-period=3s", "--hostname-override=N", "--masquerade-all"})
            .code,
        kOk);
    ASSERT_EQ(ended(Invocation::kKubeProxy, {"--write-config-to", second, "--config", first}).code, kOk);
    const auto text = [](const std::string& path) {
        std::ifstream file(path);
        return std::string(std::istreambuf_iterator<char>(file), {});
    };
    EXPECT_EQ(text(first), text(second));
    EXPECT_THAT(text(first), HasSubstr("\nclusterCIDR: fd00::/8\n"));
    EXPECT_THAT(text(first), HasSubstr("\nhostnameOverride: \"n\"\n"));  // n alone is a YAML 1.1 bool
    EXPECT_THAT(text(first), HasSubstr("\nmode: nftables\nnftables:\n  masqueradeAll: true\n  masqueradeBit: 14\n"
                                       "  minSyncPeriod: 3s\n  syncPeriod: 30s\nnodePortAddresses:\n- primary\n"));
    EXPECT_EQ(ended(Invocation::kKubeProxy, {"--write-config-to", (folder_ / "no" / "file").string()}).code, kFailed);
}

}  // namespace
}  // namespace ghostip::cli

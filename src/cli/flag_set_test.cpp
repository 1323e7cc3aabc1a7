#include "cli/flag_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/proxy_flags.h"

namespace ghostip::cli {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

struct Line {
    ProxyFlags flags;
    FlagSet set = proxy_flag_set(flags);
    FlagSet::Parsed parsed;
    std::string error;

    explicit Line(const std::vector<std::string>& words) {
        auto result = set.parse(words);
        if (result)
            parsed = std::move(*result);
        else
            error = result.error().message;
    }
    Line(const Line&) = delete;
    Line& operator=(const Line&) = delete;
    [[nodiscard]] std::string value(std::string_view name) const {
        for (const auto& [flag, text] : set.values())
            if (flag == name) return text;
        return "no such flag";
    }
};

TEST(Flags, AreReadAsKubeProxyReadsThem) {
    struct Case {
        const char* name;
        std::vector<std::string> words;
        const char* flag;
        const char* value;
    };
    const std::vector<Case> cases{
        {"value behind =", {"--kubeconfig=/a=b"}, "kubeconfig", "/a=b"},
        {"value in the next word", {"--kubeconfig", "-x"}, "kubeconfig", "-x"},
        {"empty value", {"--hostname-override=a", "--hostname-override="}, "hostname-override", ""},
        {"underscores", {"--proxy_mode=nftables"}, "proxy-mode", "nftables"},
        {"the last one counts", {"--v=1", "--v", "3"}, "v", "3"},
        {"letter, glued", {"-v5"}, "v", "5"},
        {"letter, =", {"-v=5"}, "v", "5"},
        {"letter, next word", {"-v", "5"}, "v", "5"},
        {"bool alone", {"--masquerade-all"}, "masquerade-all", "true"},
        {"bool off", {"--iptables-localhost-nodeports=f"}, "iptables-localhost-nodeports", "false"},
        {"lists add up", {"--nodeport-addresses=a,b", "--nodeport-addresses", "c"}, "nodeport-addresses", "[a,b,c]"},
        {"an empty list", {"--nodeport-addresses="}, "nodeport-addresses", "[]"},
        {"gates add up", {"--feature-gates=B=true", "--feature-gates=A=false,"}, "feature-gates", "A=false,B=true"},
        {"numbers of Go", {"--conntrack-min=0x10"}, "conntrack-min", "16"},
        {"negative numbers", {"--oom-score-adj", "-5"}, "oom-score-adj", "-5"},
        {"fractions", {"--kube-api-qps=0.5"}, "kube-api-qps", "0.5"},
        {"durations", {"--conntrack-udp-timeout=1h5m"}, "conntrack-udp-timeout", "1h5m0s"},
        {"empty address leaves the default", {"--bind-address="}, "bind-address", "0.0.0.0"},
        {"empty page address too", {"--metrics-bind-address="}, "metrics-bind-address", "127.0.0.1:10249"},
        {"sloppy addresses", {"--bind-address=010.0.0.1"}, "bind-address", "010.0.0.1"},
        {"patterns", {"--vmodule=a*=2,b=3"}, "vmodule", "a*=2,b=3"},
        {"sizes", {"--log-json-info-buffer-size=2Ki"}, "log-json-info-buffer-size", "2Ki"},
        {"version to be reported", {"--version=v1.36.9-x"}, "version", "v1.36.9-x"},
    };
    for (const auto& c : cases) {
        const Line line(c.words);
        EXPECT_EQ(line.error, "") << c.name;
        EXPECT_EQ(line.value(c.flag), c.value) << c.name;
        EXPECT_TRUE(line.set.changed(c.flag)) << c.name;
        EXPECT_THAT(line.parsed.others, IsEmpty()) << c.name;
    }
}

TEST(Flags, HaveKubeProxysDefaults) {
    const Line line({});
    const std::vector<std::pair<const char*, const char*>> defaults{
        {"config", ""},
        {"cleanup", "false"},
        {"kube-api-content-type", "application/vnd.kubernetes.protobuf"},
        {"kube-api-qps", "5"},
        {"kube-api-burst", "10"},
        {"healthz-bind-address", "0.0.0.0:10256"},
        {"healthz-port", "10256"},
        {"metrics-port", "10249"},
        {"iptables-masquerade-bit", "14"},
        {"iptables-localhost-nodeports", "true"},
        {"iptables-sync-period", "30s"},
        {"iptables-min-sync-period", "1s"},
        {"ipvs-min-sync-period", "1s"},
        {"ipvs-exclude-cidrs", "[]"},
        {"oom-score-adj", "-999"},
        {"conntrack-max-per-core", "32768"},
        {"conntrack-min", "131072"},
        {"conntrack-tcp-timeout-established", "24h0m0s"},
        {"conntrack-tcp-timeout-close-wait", "1h0m0s"},
        {"config-sync-period", "15m0s"},
        {"log-flush-frequency", "5s"},
        {"logging-format", "text"},
        {"version", "false"},
        {"machine-id-file", "/etc/machine-id,/var/lib/dbus/machine-id"},
    };
    for (const auto& [flag, text] : defaults) {
        EXPECT_EQ(line.value(flag), text) << flag;
        EXPECT_FALSE(line.set.changed(flag)) << flag;
    }
}

// kube-proxy 1.36's, each with a value that it takes.
TEST(Flags, AreAllThere) {
    for (const char* word : {"--config=x",
                             "--write-config-to=x",
                             "--cleanup",
                             "--init-only",
                             "--feature-gates=A=true",
                             "--kubeconfig=x",
                             "--master=x",
                             "--kube-api-content-type=x",
                             "--kube-api-qps=1",
                             "--kube-api-burst=1",
                             "--hostname-override=x",
                             "--bind-address=::",
                             "--healthz-bind-address=::1",
                             "--metrics-bind-address=[::1]:1",
                             "--healthz-port=1",
                             "--metrics-port=1",
                             "--bind-address-hard-fail",
                             "--profiling",
                             "--show-hidden-metrics-for-version=1.35",
                             "--proxy-mode=x",
                             "--iptables-masquerade-bit=1",
                             "--masquerade-all",
                             "--iptables-localhost-nodeports",
                             "--iptables-sync-period=1s",
                             "--iptables-min-sync-period=1s",
                             "--ipvs-sync-period=1s",
                             "--ipvs-min-sync-period=1s",
                             "--ipvs-scheduler=x",
                             "--ipvs-exclude-cidrs=x",
                             "--ipvs-strict-arp",
                             "--ipvs-tcp-timeout=1s",
                             "--ipvs-tcpfin-timeout=1s",
                             "--ipvs-udp-timeout=1s",
                             "--detect-local-mode=x",
                             "--pod-bridge-interface=x",
                             "--pod-interface-name-prefix=x",
                             "--cluster-cidr=x",
                             "--nodeport-addresses=x",
                             "--oom-score-adj=1",
                             "--conntrack-max-per-core=1",
                             "--conntrack-min=1",
                             "--conntrack-tcp-timeout-established=1s",
                             "--conntrack-tcp-timeout-close-wait=1s",
                             "--conntrack-tcp-be-liberal",
                             "--conntrack-udp-timeout=1s",
                             "--conntrack-udp-timeout-stream=1s",
                             "--config-sync-period=1s",
                             "--logging-format=x",
                             "--log-flush-frequency=1s",
                             "--v=1",
                             "--vmodule=a=1",
                             "--log-text-split-stream",
                             "--log-json-split-stream",
                             "--log-text-info-buffer-size=1",
                             "--log-json-info-buffer-size=1",
                             "--boot-id-file=x",
                             "--machine-id-file=x",
                             "--version=false"})
        EXPECT_EQ(Line({word}).error, "") << word;
}

TEST(Flags, ThatAreWrongAreRefusedInPflagsWords) {
    const std::vector<std::pair<std::vector<std::string>, const char*>> cases{
        {{"--nope"}, "unknown flag: --nope"},
        {{"--no_pe=1"}, "unknown flag: --no-pe"},
        {{"-x"}, "unknown shorthand flag: 'x' in -x"},
        {{"--=1"}, "bad flag syntax: --=1"},
        {{"---v"}, "bad flag syntax: ---v"},
        {{"--config"}, "flag needs an argument: --config"},
        {{"-v"}, "flag needs an argument: 'v' in -v"},
        {{"-vx"}, R"(invalid argument "x" for "-v, --v" flag: strconv.ParseUint: parsing "x": invalid syntax)"},
        {{"--cleanup=maybe"},
         R"(invalid argument "maybe" for "--cleanup" flag: strconv.ParseBool: parsing "maybe": invalid syntax)"},
        {{"--healthz-port=99999999999"},
         R"(invalid argument "99999999999" for "--healthz-port" flag: strconv.ParseInt: parsing "99999999999": value out )"
         "of range"},
        {{"--config-sync-period=5"},
         R"(invalid argument "5" for "--config-sync-period" flag: time: missing unit in duration "5")"},
        {{"--bind-address=x"}, R"(invalid argument "x" for "--bind-address" flag: "x" is not a valid IP address)"},
        {{"--healthz-bind-address=x:1"},
         R"(invalid argument "x:1" for "--healthz-bind-address" flag: "x" is not a valid IP address)"},
        {{"--healthz-bind-address=1.2.3.4:x"},
         R"(invalid argument "1.2.3.4:x" for "--healthz-bind-address" flag: "x" is not a valid number)"},
        {{"--feature-gates=A"},
         R"(invalid argument "A" for "--feature-gates" flag: malformed pair, expect string=bool)"},
        {{"--vmodule=a"}, R"(invalid argument "a" for "--vmodule" flag: "a" does not have the pattern=N format)"},
        {{"--max-commits-per-second=0"},
         R"(invalid argument "0" for "--max-commits-per-second" flag: must be from 1 to 1000)"},
        {{"--version=v1"}, R"(invalid argument "v1" for "--version" flag: "v1" is not a version such as v1.36.2)"},
    };
    for (const auto& [words, error] : cases) EXPECT_EQ(Line(words).error, error);
}

TEST(Flags, LeaveOtherWords) {
    EXPECT_THAT(Line({"a", "-v", "1", "--cleanup", "false", "--", "--nope"}).parsed.others,
                ElementsAre("a", "false", "--nope"));
}

TEST(Flags, HelpEndsTheReading) {
    for (const char* word : {"--help", "-h"}) {
        const Line line({word, "--nope"});
        EXPECT_EQ(line.error, "");
        EXPECT_TRUE(line.parsed.help);
    }
    const auto help = Line({}).set.help();
    EXPECT_THAT(help, HasSubstr("  -v, --v uint32"));
    EXPECT_THAT(help, HasSubstr("--conntrack-min int32"));
    EXPECT_THAT(help, HasSubstr("(default 131072)"));
    EXPECT_THAT(help, HasSubstr("--mass-removal-percent"));
    EXPECT_THAT(help, Not(HasSubstr("--healthz-port"))) << "deprecated";
}

TEST(Flags, ThatAreDeprecatedSaySoOnce) {
    EXPECT_THAT(Line({"--healthz-port=1", "--healthz-port=2"}).parsed.notes,
                ElementsAre("Flag --healthz-port has been deprecated, use --healthz-bind-address"));
}

}  // namespace
}  // namespace ghostip::cli

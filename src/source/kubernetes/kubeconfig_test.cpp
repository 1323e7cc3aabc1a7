#include "source/kubernetes/kubeconfig.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/kubernetes/pem.h"

namespace ghostip::source::kubernetes {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::TestWithParam;
using ::testing::ValuesIn;

constexpr const char* kCertificate = "-----BEGIN CERTIFICATE-----\nY2VydA==\n-----END CERTIFICATE-----\n";
constexpr const char* kKey = "-----BEGIN EC PRIVATE KEY-----\na2V5\n-----END EC PRIVATE KEY-----\n";

const ReadFile kFiles = [](const std::string& path) -> Result<std::string> {
    const std::map<std::string, std::string> files{{"/x/ca.crt", kCertificate},
                                                   {"/x/sub/me.crt", kCertificate},
                                                   {"/etc/me.key", kKey},
                                                   {"/x/token", "from-file\n"},
                                                   {"/x/rubbish", "rubbish"}};
    const auto found = files.find(path);
    if (found == files.end()) return fail("{}: No such file or directory", path);
    return found->second;
};

// A whole kubeconfig around these lines of the cluster and of the user, each `key: value`.
std::string with(const std::vector<std::string>& cluster, const std::vector<std::string>& user) {
    std::string text =
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "contexts:\n- name: other\n  context: {cluster: none, user: none}\n- name: c\n  context: {cluster: k, user: u, "
        "namespace: ns}\n";
    text += "clusters:\n- name: k\n  cluster:\n";
    for (const auto& line : cluster) text += "    " + line + "\n";
    text += "users:\n- name: u\n  user:\n    ignored: 1\n";
    for (const auto& line : user) text += "    " + line + "\n";
    return text;
}

Result<std::optional<ClientConfig>> parse(const std::string& text, const std::string& master = {}) {
    return parse_kubeconfig(text, "/x/kubeconfig", master, kFiles);
}

ClientConfig good(const std::string& text, const std::string& master = {}) {
    auto config = parse(text, master);
    EXPECT_TRUE(config) << config.error().message;
    if (!config) return {};
    EXPECT_TRUE(*config) << "names no server";
    return config->value_or(ClientConfig());
}

const std::string kServer = "server: https://10.0.0.1:6443";

TEST(Kubeconfig, ReadsFilesAndData) {
    const auto config = good(with({kServer, "certificate-authority: ca.crt", "tls-server-name: api.example",
                                   "proxy-url: socks5://user:pass@proxy:1080", "disable-compression: true"},
                                  {"client-certificate: sub/me.crt", "client-key: /etc/me.key"}));
    EXPECT_EQ(config.server.text(), "https://10.0.0.1:6443");
    EXPECT_EQ(config.authority.file, "/x/ca.crt");
    EXPECT_EQ(config.tls_server_name, "api.example");
    EXPECT_EQ(config.proxy_url, "socks5://user:pass@proxy:1080");
    EXPECT_TRUE(config.disable_compression);
    EXPECT_EQ(config.certificate.file, "/x/sub/me.crt");
    EXPECT_EQ(config.key.file, "/etc/me.key");
    EXPECT_EQ(config.name_space, "ns");
    EXPECT_EQ(config.origin, "/x/kubeconfig");

    const auto inline_data = good(
        with({kServer, "certificate-authority-data: " + encode_base64(kCertificate)},
             {"client-certificate-data: " + encode_base64(kCertificate), "client-key-data: " + encode_base64(kKey)}));
    EXPECT_EQ(inline_data.authority.data, kCertificate);
    EXPECT_EQ(inline_data.key.data, kKey);
}

TEST(Kubeconfig, ReadsJson) {
    const auto config = good(R"({"current-context":"c","contexts":[{"name":"c","context":{"cluster":"k","user":"u"}}],
        "clusters":[{"name":"k","cluster":{"server":"https://h","insecure-skip-tls-verify":true}}],
        "users":[{"name":"u","user":{"token":"t"}}]})");
    EXPECT_EQ(config.server.text(), "https://h:443");
    EXPECT_TRUE(config.insecure_skip_tls_verify);
    EXPECT_EQ(config.token, "t");
}

TEST(Kubeconfig, ReadsTokensAndBasic) {
    const auto both = good(with({kServer}, {"token: first", "tokenFile: not-there-yet"}));
    EXPECT_EQ(both.token, "first");
    EXPECT_EQ(both.token_file, "/x/not-there-yet");
    EXPECT_EQ(good(with({kServer}, {"tokenFile: token"})).token_file, "/x/token");
    const auto basic = good(with({kServer}, {"username: me", "password: \"123\""}));
    EXPECT_EQ(basic.username, "me");
    EXPECT_EQ(basic.password, "123");
}

TEST(Kubeconfig, ReadsImpersonation) {
    const auto as = good(with({kServer}, {"token: t", "as: jane", "as-uid: u1", "as-groups: [a, b]",
                                          "as-user-extra: {\"example.com/scope\": [x, z]}"}))
                        .impersonation;
    EXPECT_EQ(as.user, "jane");
    EXPECT_EQ(as.uid, "u1");
    EXPECT_THAT(as.groups, ElementsAre("a", "b"));
    EXPECT_THAT(as.extra, ElementsAre(Pair("example.com/scope", ElementsAre("x", "z"))));
}

TEST(Kubeconfig, ReadsExec) {
    const std::vector<std::string> lines{"exec:",
                                         "  apiVersion: client.authentication.k8s.io/v1",
                                         "  command: ./bin/login",
                                         "  args: [--for, it]",
                                         "  env: [{name: A, value: b}]",
                                         "  interactiveMode: Never",
                                         "  installHint: get it",
                                         "  provideClusterInfo: true"};
    const std::string extension =
        "extensions: [{name: client.authentication.k8s.io/exec, extension: {a: [1, \"x\\ny\", null], b: 0x10, c: .5}}]";
    const auto exec = good(with({kServer, extension}, lines)).exec;
    ASSERT_TRUE(exec);
    EXPECT_EQ(exec->command, "/x/bin/login");
    EXPECT_THAT(exec->arguments, ElementsAre("--for", "it"));
    EXPECT_THAT(exec->environment, ElementsAre(Pair("A", "b")));
    EXPECT_EQ(exec->interactive, InteractiveMode::kNever);
    EXPECT_TRUE(exec->provide_cluster_info);
    EXPECT_EQ(exec->cluster_config, R"({"a":[1,"x\u000ay",null],"b":16,"c":".5"})");

    auto with_token = lines;
    with_token.insert(with_token.begin(), "token: t");
    EXPECT_FALSE(good(with({kServer}, with_token)).exec) << "a token goes before a plugin";
    auto from_path = lines;
    from_path[2] = "  command: login";
    EXPECT_EQ(good(with({kServer}, from_path)).exec->command, "login");
}

TEST(Kubeconfig, CredentialsStayAtHomeWithoutHttps) {
    const auto config = good(with({"server: http://h:8080"}, {"token: t", "as: jane"}));
    EXPECT_EQ(config.token, "");
    EXPECT_EQ(config.impersonation.user, "");
    ASSERT_EQ(config.notices.size(), 1U);
    EXPECT_THAT(config.notices[0], HasSubstr("user \"u\" are not used"));
}

TEST(Kubeconfig, SchemesByWhatIsGiven) {
    EXPECT_EQ(good(with({"server: h:1"}, {})).server.text(), "http://h:1");
    EXPECT_EQ(good(with({"server: h:1", "certificate-authority: ca.crt"}, {})).server.text(), "https://h:1");
    EXPECT_EQ(good(with({"server: h", "insecure-skip-tls-verify: true"}, {})).server.text(), "https://h:443");
    EXPECT_EQ(good(with({"server: \"https://[fd00::1]:6443/pre/fix/\""}, {})).server.text(),
              "https://[fd00::1]:6443/pre/fix");
}

TEST(Kubeconfig, MasterTakesTheServersPlace) {
    const auto config =
        good(with({kServer, "tls-server-name: x", "certificate-authority: ca.crt"}, {"token: t"}), "other:7");
    EXPECT_EQ(config.server.text(), "https://other:7");
    EXPECT_EQ(config.tls_server_name, "");
    EXPECT_EQ(config.token, "t");
    EXPECT_EQ(good("", "http://h:1").server.text(), "http://h:1");
    EXPECT_EQ(good(with({"tls-server-name: x"}, {}), "http://h:1").server.text(), "http://h:1");
    EXPECT_THAT(parse("", "ftp://h").error().message, HasSubstr("--master \"ftp://h\" must begin with https://"));
}

TEST(Kubeconfig, NamesNoServer) {
    const std::string elsewhere =
        "current-context: c\ncontexts:\n- name: c\n  context: {cluster: missing, user: missing}\n";
    for (const std::string& text : {std::string(), std::string("\n \n"), std::string("kind: Config\n"), elsewhere}) {
        const auto config = parse(text);
        ASSERT_TRUE(config) << config.error().message;
        EXPECT_FALSE(*config) << text;
    }
}

TEST(Kubeconfig, AUserThatIsNotThereIsANotice) {
    const auto config = good(
        "current-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: nobody}\n"
        "clusters:\n- name: k\n  cluster: {server: https://h}\n");
    ASSERT_EQ(config.notices.size(), 1U);
    EXPECT_THAT(config.notices[0], HasSubstr("no user \"nobody\""));
}

struct Refused {
    std::string name;
    std::vector<std::string> cluster;
    std::vector<std::string> user;
    std::string message;
};

class KubeconfigRefuses : public TestWithParam<Refused> {};

TEST_P(KubeconfigRefuses, WithAClearError) {
    const auto config = parse(with(GetParam().cluster, GetParam().user));
    ASSERT_FALSE(config);
    EXPECT_THAT(config.error().message, HasSubstr("invalid configuration: "));
    EXPECT_THAT(config.error().message, HasSubstr("/x/kubeconfig:"));
    EXPECT_THAT(config.error().message, HasSubstr(GetParam().message));
    EXPECT_THAT(config.error().message, Not(HasSubstr("s3cret")));
}

std::vector<std::string> exec(std::vector<std::string> lines) {
    for (auto& line : lines) line.insert(0, "  ");
    lines.insert(lines.begin(), "exec:");
    return lines;
}

const std::string kV1 = "apiVersion: client.authentication.k8s.io/v1";

INSTANTIATE_TEST_SUITE_P(
    Rules, KubeconfigRefuses,
    ValuesIn(std::vector<Refused>{
        {"no_server", {"tls-server-name: x"}, {}, "clusters[0].cluster.server: must be given"},
        {"server_scheme", {"server: ftp://h"}, {}, "clusters[0].cluster.server: \"ftp://h\": must begin with https://"},
        {"server_port", {"server: https://h:99999"}, {}, "\"99999\" is no port"},
        {"server_user", {"server: https://me:s3cret@h"}, {}, "cluster.server: must not hold a user"},
        {"server_query", {"server: https://h/?a=b"}, {}, "must not hold a query"},
        {"server_path_without_scheme", {"server: h:1/path"}, {}, "must be a URL or host:port"},
        {"server_host", {"server: https://"}, {}, "has no host"},
        {"server_v6", {"server: \"https://[::zz]\""}, {}, "is no IPv6 address"},
        {"server_type", {"server: [a]"}, {}, "clusters[0].cluster.server: a list: must be text"},
        {"authority_missing",
         {kServer, "certificate-authority: no.crt"},
         {},
         "clusters[0].cluster.certificate-authority: \"no.crt\": cannot be read: /x/no.crt: No such file"},
        {"authority_rubbish",
         {kServer, "certificate-authority: rubbish"},
         {},
         "/x/rubbish holds no CERTIFICATE in PEM"},
        {"authority_twice",
         {kServer, "certificate-authority: ca.crt", "certificate-authority-data: " + encode_base64(kCertificate)},
         {},
         "certificate-authority-data: is given beside certificate-authority"},
        {"authority_base64",
         {kServer, "certificate-authority-data: \"%%%%\""},
         {},
         "certificate-authority-data: is not base64"},
        {"insecure_with_authority",
         {kServer, "certificate-authority: ca.crt", "insecure-skip-tls-verify: true"},
         {},
         "insecure-skip-tls-verify: true: cannot be combined with a certificate authority"},
        {"insecure_type", {kServer, "insecure-skip-tls-verify: maybe"}, {}, "must be true or false"},
        {"proxy",
         {kServer, "proxy-url: \"ftp://u:s3cret@h\""},
         {},
         "cluster.proxy-url: must begin with http://, https:// or socks5://"},
        {"certificate_without_key",
         {kServer},
         {"client-certificate: sub/me.crt"},
         "users[0].user.client-key: must be given"},
        {"certificate_missing",
         {kServer},
         {"client-certificate: no.crt", "client-key: /etc/me.key"},
         "users[0].user.client-certificate: cannot be read: /x/no.crt"},
        {"key_missing",
         {kServer},
         {"client-certificate: sub/me.crt", "client-key: no.key"},
         "users[0].user.client-key: cannot be read: /x/no.key"},
        {"key_is_a_certificate",
         {kServer},
         {"client-certificate: sub/me.crt", "client-key: sub/me.crt"},
         "holds no PRIVATE KEY"},
        {"key_twice",
         {kServer},
         {"client-certificate: sub/me.crt", "client-key: /etc/me.key", "client-key-data: " + encode_base64(kKey)},
         "users[0].user.client-key-data: is given beside client-key"},
        {"key_base64",
         {kServer},
         {"client-certificate: sub/me.crt", "client-key-data: s3cret"},
         "client-key-data: is not base64"},
        {"token_and_basic",
         {kServer},
         {"token: s3cret", "username: me"},
         "users[0].user.token: cannot be combined with username"},
        {"token_file_and_basic",
         {kServer},
         {"tokenFile: token", "username: me"},
         "users[0].user.tokenFile: cannot be combined"},
        {"token_file_missing", {kServer}, {"tokenFile: none"}, "users[0].user.tokenFile: cannot be read: /x/none"},
        {"token_type", {kServer}, {"token: 12345"}, "users[0].user.token: must be text"},
        {"token_line_break", {kServer}, {"token: \"s3cret\\nX: y\""}, "users[0].user.token: must not hold line breaks"},
        {"uid_without_user", {kServer}, {"as-uid: x"}, "users[0].user.as-uid: is given without as"},
        {"groups_without_user", {kServer}, {"as-groups: [x]"}, "users[0].user.as-groups: is given without as"},
        {"extra_without_user",
         {kServer},
         {"as-user-extra: {a: [b]}"},
         "users[0].user.as-user-extra: is given without as"},
        {"auth_provider", {kServer}, {"auth-provider: {name: oidc}"}, "users[0].user.auth-provider: is not supported"},
        {"auth_provider_and_exec",
         {kServer},
         {"auth-provider: {name: oidc}", "exec: {command: x}"},
         "users[0].user.auth-provider: cannot be combined with exec"},
        {"exec_command", {kServer}, exec({kV1, "interactiveMode: Never"}), "users[0].user.exec.command: must be given"},
        {"exec_version", {kServer}, exec({"command: x"}), "users[0].user.exec.apiVersion: must be given"},
        {"exec_other_version",
         {kServer},
         exec({"command: x", "apiVersion: client.authentication.k8s.io/v1alpha1"}),
         "users[0].user.exec.apiVersion: must be client.authentication.k8s.io/v1"},
        {"exec_mode_missing",
         {kServer},
         exec({"command: x", kV1}),
         "users[0].user.exec.interactiveMode: must be given"},
        {"exec_mode",
         {kServer},
         exec({"command: x", kV1, "interactiveMode: Often"}),
         "must be one of Never, IfAvailable, Always"},
        {"exec_env",
         {kServer},
         exec({"command: x", kV1, "interactiveMode: Never", "env: [{value: v}]"}),
         "users[0].user.exec.env[0].name: must be given"},
        {"several",
         {"tls-server-name: x"},
         {"as-uid: x", "exec: {apiVersion: v}"},
         "invalid configuration: [/x/kubeconfig:"},
    }),
    [](const auto& row) { return row.param.name; });

TEST(Kubeconfig, RefusesWhatIsAround) {
    EXPECT_THAT(parse("kind: Config\ncurrent-context: gone\n").error().message,
                HasSubstr("/x/kubeconfig:2: current-context: \"gone\": there is no context of this name"));
    EXPECT_THAT(parse("kind: Pod\n").error().message, HasSubstr("kind: \"Pod\": must be Config"));
    EXPECT_THAT(parse("apiVersion: v2\n").error().message, HasSubstr("apiVersion: \"v2\": must be v1"));
    EXPECT_THAT(parse("a: [").error().message, HasSubstr("/x/kubeconfig:"));
    EXPECT_THAT(parse("current-context: c\ncontexts:\n- {name: c}\n- {name: c}\n").error().message,
                HasSubstr("contexts[1].name: \"c\": is there twice"));
    EXPECT_THAT(parse("current-context: c\ncontexts: x\n").error().message,
                HasSubstr("contexts: \"x\": must be a list"));
}

}  // namespace
}  // namespace ghostip::source::kubernetes

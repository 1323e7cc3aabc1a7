#include "source/kubernetes/client_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/kubernetes/kubernetes_testing.h"
#include "source/kubernetes/proxy.h"

namespace ghostip::source::kubernetes {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ClientConfigTest : public ::testing::Test {
  protected:
    LoadOptions options() {
        LoadOptions options;
        options.environment = fake_environment(variables);
        options.service_account_folder = folder.path();
        return options;
    }
    std::string error(const LoadOptions& options) {
        const auto config = load_client_config(options);
        return config ? "none" : config.error().message;
    }
    void make_pod() {
        variables = {{"KUBERNETES_SERVICE_HOST", "fd00::1"}, {"KUBERNETES_SERVICE_PORT", "443"}};
        folder.write("token", "t\n");
        folder.write("namespace", "kube-system");
    }

    TemporaryFolder folder;
    std::map<std::string, std::string> variables;
};

TEST_F(ClientConfigTest, InCluster) {
    EXPECT_THAT(error(options()), HasSubstr("KUBERNETES_SERVICE_HOST must be set"));
    make_pod();
    folder.write("ca.crt", "-----BEGIN CERTIFICATE-----\nY2VydA==\n-----END CERTIFICATE-----\n");
    const auto config = load_client_config(options());
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->server.text(), "https://[fd00::1]:443");
    EXPECT_EQ(config->token_file, folder.path() + "/token");
    EXPECT_EQ(config->authority.file, folder.path() + "/ca.crt");
    EXPECT_EQ(config->name_space, "kube-system");
    EXPECT_THAT(config->notices, IsEmpty());
}

TEST_F(ClientConfigTest, InClusterWithoutItsFiles) {
    make_pod();
    auto config = load_client_config(options());
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_FALSE(config->authority.given());
    ASSERT_EQ(config->notices.size(), 1U);
    EXPECT_THAT(config->notices[0], HasSubstr("ca.crt: No such file or directory; the server is checked against"));
    folder.remove("token");
    EXPECT_THAT(error(options()), HasSubstr("token: No such file"));
    variables["KUBERNETES_SERVICE_PORT"] = "http";
    EXPECT_THAT(error(options()), HasSubstr("KUBERNETES_SERVICE_PORT=\"http\": \"http\" is no port"));
}

TEST_F(ClientConfigTest, AKubeconfigWithoutAServerFallsBack) {
    auto with_file = options();
    with_file.kubeconfig = folder.write("kubeconfig", "kind: Config\n");
    EXPECT_THAT(error(with_file), HasSubstr("no configuration has been provided"));
    make_pod();
    with_file.environment = fake_environment(variables);
    const auto config = load_client_config(with_file);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->server.host, "fd00::1");
    EXPECT_THAT(config->notices.back(), HasSubstr("the in-cluster configuration is used"));
}

TEST_F(ClientConfigTest, MissingFileAndMaster) {
    auto missing = options();
    missing.kubeconfig = folder.path() + "/none";
    EXPECT_THAT(error(missing), HasSubstr("/none: No such file or directory"));
    auto master = options();
    master.master = "127.0.0.1:8080";
    const auto config = load_client_config(master);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config->server.text(), "http://127.0.0.1:8080");
}

struct ProxyCase {
    const char* name;
    const char* server;
    std::map<std::string, std::string> variables;
    const char* proxy;
};

TEST(ProxyFor, Environment) {
    const std::vector<ProxyCase> cases{
        {"none", "https://h", {}, ""},
        {"https", "https://h", {{"HTTPS_PROXY", "http://p:1"}, {"HTTP_PROXY", "http://q:1"}}, "http://p:1"},
        {"http", "http://h", {{"HTTPS_PROXY", "http://p:1"}, {"HTTP_PROXY", "http://q:1"}}, "http://q:1"},
        {"lower case", "https://h", {{"https_proxy", "p:1"}}, "http://p:1"},
        {"loopback", "https://127.0.0.1", {{"HTTPS_PROXY", "p"}}, ""},
        {"localhost", "https://localhost", {{"HTTPS_PROXY", "p"}}, ""},
        {"all", "https://h", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "a, *"}}, ""},
        {"name", "https://h.example", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "H.Example"}}, ""},
        {"below", "https://a.h.example", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "h.example"}}, ""},
        {"only below", "https://h.example", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", ".h.example"}}, "http://p"},
        {"star below", "https://a.h.example", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "*.h.example"}}, ""},
        {"end of a word", "https://xh.example", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "h.example"}}, "http://p"},
        {"range", "https://10.96.0.1", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "x,10.96.0.0/12"}}, ""},
        {"other range", "https://10.0.0.1", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "10.96.0.0/12"}}, "http://p"},
        {"address", "https://[fd00::1]:6443", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "fd00::1"}}, ""},
        {"port", "https://h:6443", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "h:6443"}}, ""},
        {"other port", "https://h:6443", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "h:443"}}, "http://p"},
        {"address and port", "https://[fd00::1]:6443", {{"HTTPS_PROXY", "p"}, {"NO_PROXY", "[fd00::1]:6443"}}, ""},
    };
    for (const auto& row : cases) {
        ClientConfig config;
        config.server = parse_server_url(row.server, SchemeIfNone::kHttps).value();
        EXPECT_EQ(proxy_for(config, fake_environment(row.variables)), row.proxy) << row.name;
        config.proxy_url = "socks5://own";
        EXPECT_EQ(proxy_for(config, fake_environment(row.variables)), "socks5://own") << row.name;
    }
}

}  // namespace
}  // namespace ghostip::source::kubernetes

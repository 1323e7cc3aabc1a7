// The pages of both addresses, asked over HTTP on loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/health_pages.h"
#include "agent/metrics_pages.h"
#include "agent/metrics_text_testing.h"
#include "agent/page_server.h"
#include "http/client_testing.h"

namespace ghostip::agent {
namespace {

using namespace std::chrono_literals;
using http::testing::ask;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::unique_ptr<http::Server> serve(http::Routes routes) {
    return std::move(http::Server::listen("127.0.0.1", 0, std::move(routes))).value();
}

TEST(HealthPages, AnswerAndAreCounted) {
    Metrics metrics{"nftables"};
    Health health({30s, NodeObject::kExpected});
    const auto server = serve(health_pages(health, metrics.kube_proxy()));
    struct Step {
        const char* what;
        std::function<void()> before;
        int healthz;
        int livez;
        int readyz;
    };
    const std::vector<Step> steps{
        {"start", [] {}, 503, 200, 503},
        {"Node", [&] { health.set_node(NodeState::kEligible); }, 200, 200, 503},
        {"synced", [&] { health.synced(); }, 200, 200, 200},
        {"leaving", [&] { health.set_node(NodeState::kLeaving); }, 503, 200, 200},
    };
    for (const auto& step : steps) {
        step.before();
        EXPECT_EQ(ask(server->port(), "GET /healthz").status, step.healthz) << step.what;
        EXPECT_EQ(ask(server->port(), "POST /livez").status, step.livez) << step.what;
        EXPECT_EQ(ask(server->port(), "GET /readyz").status, step.readyz) << step.what;
    }
    const auto unknown = ask(server->port(), "GET /other");
    EXPECT_EQ(unknown.status, 404);
    EXPECT_EQ(unknown.body, "404 page not found\n");
    const auto text = metrics.metrics().body;
    EXPECT_THAT(text, HasSubstr("kubeproxy_proxy_healthz_total{code=\"200\"} 2\n"));
    EXPECT_THAT(text, HasSubstr("kubeproxy_proxy_healthz_total{code=\"503\"} 2\n"));
    EXPECT_THAT(text, HasSubstr("kubeproxy_proxy_livez_total{code=\"200\"} 4\n"));
}

struct Scene {
    Scene() {
        MetricsPages pages;
        pages.version = "v1.36.2";
        pages.mode = "nftables";
        pages.configz = R"({"kubeproxy.config.k8s.io":{"mode":"nftables"}})";
        pages.flags = {{"bind-address", "0.0.0.0"}, {"v", "2"}};
        pages.started = std::chrono::system_clock::now() - 3725s;
        pages.set_verbosity = [this](int value) -> Result<void> {
            if (value > 10) return fail("verbosity: {}: too much", value);
            verbosity = value;
            return {};
        };
        server = serve(metrics_pages(pages, metrics));
    }
    [[nodiscard]] http::testing::Answer get(const std::string& path, const std::string& headers = "") const {
        return ask(server->port(), "GET " + path, headers);
    }

    Metrics metrics{"nftables"};
    std::atomic<int> verbosity = 0;
    std::unique_ptr<http::Server> server;
};

TEST(MetricsPages, SmallOnesByteForByte) {
    const Scene scene;
    struct Case {
        const char* path;
        const char* type;
        const char* body;
    };
    for (const auto& c : {
             Case{"/healthz", "text/plain; charset=utf-8", "ok"},
             Case{"/healthz/ping", "text/plain; charset=utf-8", "ok"},
             Case{"/healthz?verbose", "text/plain; charset=utf-8", "[+]ping ok\nhealthz check passed\n"},
             Case{"/healthz?verbose&exclude=ping", "text/plain; charset=utf-8",
                  "[+]ping excluded: ok\nhealthz check passed\n"},
             Case{"/proxyMode", "text/plain; charset=utf-8", "nftables"},
             Case{"/configz", "application/json", R"({"kubeproxy.config.k8s.io":{"mode":"nftables"}})"},
         }) {
        const auto answer = scene.get(c.path);
        EXPECT_EQ(answer.status, 200) << c.path;
        EXPECT_EQ(answer.body, c.body) << c.path;
        EXPECT_THAT(answer.head, HasSubstr("Content-Type: " + std::string(c.type) + "\r\n")) << c.path;
    }
    for (const char* path : {"/debug/pprof/", "/debug/pprof/heap", "/", "/metrics/", "/livez"})
        EXPECT_EQ(scene.get(path).status, 404) << path;
}

TEST(MetricsPages, MetricsAndSlis) {
    const Scene scene;
    const auto metrics = scene.get("/metrics");
    EXPECT_EQ(metrics.status, 200);
    EXPECT_THAT(metrics.head, HasSubstr("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    EXPECT_THAT(testing::parse_metrics(metrics.body).complaints, IsEmpty());
    const auto packed = scene.get("/metrics", "Accept-Encoding: gzip\r\n");
    EXPECT_THAT(packed.head, HasSubstr("Content-Encoding: gzip\r\n"));
    EXPECT_LT(packed.body.size(), metrics.body.size());

    EXPECT_EQ(scene.get("/metrics/slis").body, "");
    static_cast<void>(scene.get("/healthz"));
    static_cast<void>(scene.get("/healthz/ping"));
    const auto slis = scene.get("/metrics/slis").body;
    EXPECT_THAT(testing::parse_metrics(slis).complaints, IsEmpty());
    EXPECT_THAT(slis, HasSubstr("kubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1\n"));
    EXPECT_THAT(slis,
                HasSubstr("kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"healthz\"} 2\n"));
    EXPECT_EQ(ask(scene.server->port(), "DELETE /metrics/slis").body, "metrics reset\n");
    EXPECT_EQ(scene.get("/metrics/slis").body, "");
}

TEST(MetricsPages, FlagzAndStatusz) {
    const Scene scene;
    const auto flags = scene.get("/flagz");
    EXPECT_THAT(flags.head, HasSubstr("Content-Type: text/plain; charset=utf-8\r\n"));
    EXPECT_THAT(flags.body, StartsWith("\nkube-proxy flagz\nWarning: "));
    EXPECT_THAT(flags.body,
                AnyOf(HasSubstr("\nv:2\n"), HasSubstr("\nv: 2\n"), HasSubstr("\nv=2\n"), HasSubstr("\nv 2\n")));
    EXPECT_EQ(scene.get("/flagz").body, flags.body) << "the same while the process runs";
    const auto structured = scene.get("/flagz", "Accept: application/json;as=Flagz;v=v1beta1;g=config.k8s.io\r\n");
    EXPECT_EQ(structured.body,
              R"({"kind":"Flagz","apiVersion":"config.k8s.io/v1beta1","metadata":{"name":"kube-proxy"},)"
              R"("flags":{"bind-address":"0.0.0.0","v":"2"}})");
    EXPECT_THAT(structured.head, HasSubstr("Content-Type: application/json\r\n"));
    EXPECT_THAT(scene.get("/flagz", "Accept: application/yaml;as=Flagz;v=v1beta1;g=config.k8s.io\r\n").head,
                HasSubstr("Content-Type: application/yaml\r\n"));

    const auto status = scene.get("/statusz").body;
    EXPECT_THAT(status, StartsWith("\nkube-proxy statusz\nWarning: "));
    EXPECT_THAT(status, HasSubstr("\nUp: 1 hr 02 min 0"));
    EXPECT_THAT(status, HasSubstr("\nBinary version: v1.36.2\n"));
    EXPECT_THAT(status, HasSubstr("/metrics/slis"));
    EXPECT_THAT(scene.get("/statusz", "Accept: application/json;as=Statusz;v=v1beta1;g=config.k8s.io\r\n").body,
                HasSubstr(R"("uptimeSeconds":37)"));
}

TEST(MetricsPages, VerbosityIsSetByPut) {
    const Scene scene;
    const auto put = [&](const std::string& body) { return ask(scene.server->port(), "PUT /debug/flags/v", "", body); };
    EXPECT_EQ(put("4").status, 200);
    EXPECT_EQ(scene.verbosity, 4);
    for (const char* bad : {"", "x", "4 ", "-1", "99999999999", "11"}) EXPECT_EQ(put(bad).status, 400) << bad;
    EXPECT_EQ(scene.verbosity, 4);
    EXPECT_EQ(scene.get("/debug/flags/v").status, 406);
}

TEST(MetricsPages, WhatIsOffDoesNotExist) {
    Metrics metrics{"nftables"};
    MetricsPages pages;
    pages.with_statusz = false;
    const auto server = serve(metrics_pages(pages, metrics));
    for (const char* path : {"/flagz", "/statusz", "/configz", "/debug/flags/v"})
        EXPECT_EQ(ask(server->port(), std::string("GET ") + path).status, 404) << path;
}

PageServerConfig at(std::uint16_t port) {
    PageServerConfig config;
    config.what = "test pages";
    config.address = "127.0.0.1";
    config.port = port;
    config.retry_interval = 5ms;
    return config;
}

TEST(PageServer, TriesUntilThePortIsFree) {
    Metrics metrics{"nftables"};
    const PageServer direct(at(0), metrics_pages({}, metrics));
    EXPECT_EQ(ask(direct.port(), "GET /healthz").status, 200);

    auto taken = std::move(listen_tcp("127.0.0.1", 0)).value();
    const auto port = taken.port;
    const PageServer server(at(port), metrics_pages({}, metrics));
    EXPECT_EQ(server.port(), 0);
    EXPECT_FALSE(server.wait_listening(20ms));
    taken.socket.reset();
    ASSERT_TRUE(server.wait_listening(10s));
    EXPECT_EQ(server.port(), port);
    EXPECT_EQ(ask(port, "GET /healthz").status, 200);
}

TEST(PageServer, OrTellsAtOnce) {
    const auto taken = std::move(listen_tcp("127.0.0.1", 0)).value();
    std::string told;
    auto config = at(taken.port);
    config.on_hard_failure = [&](const Error& error) { told = error.message; };
    const PageServer server(config, {});
    EXPECT_EQ(told, "bind 127.0.0.1 port " + std::to_string(taken.port) + ": Address already in use");
    EXPECT_FALSE(server.wait_listening(20ms)) << "and leaves it at that";
}

}  // namespace
}  // namespace ghostip::agent

// Trust, names, client certificates; HTTP/2.
#include <algorithm>
#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/kubernetes/client_testing.h"
#include "source/kubernetes/http2_testing.h"
#include "source/kubernetes/server_testing.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Kind = TransportError::Kind;

class CurlTls : public ::testing::Test {
  protected:
    // Answers with the server name that was asked for and the request.
    static void echo(TestConnection& connection) {
        for (std::string request; !(request = connection.read_request()).empty();)
            connection.answer("200 OK", "", "sni=" + connection.server_name() + "\n" + request);
    }
    [[nodiscard]] TestTls tls(const std::string& names = "IP:127.0.0.1") const {
        return {.identity = authority.issue("server", names)};
    }
    [[nodiscard]] Client client(const TestServer& server,
                                const std::function<void(ClientConfig&, CurlOptions&)>& set = {}) const {
        return Client(server.url(), [&](ClientConfig& config, CurlOptions& options) {
            config.authority.data = authority.pem();
            if (set) set(config, options);
        });
    }
    static void expect_error(const Answer& answer, Kind kind, const std::string& words) {
        ASSERT_TRUE(answer.error) << answer.body;
        EXPECT_EQ(answer.error->kind, kind) << answer.message();
        EXPECT_THAT(answer.message(), HasSubstr(words));
    }

    TestAuthority authority{"ours"};
    TestAuthority stranger{"stranger"};
    TemporaryFolder folder;
};

TEST_F(CurlTls, TrustsTheAuthorityThatIsGiven) {
    TestServer server(echo, tls());
    const Answer answer = client(server, [](ClientConfig& config, CurlOptions&) { config.token = "abc"; }).ask("/x");
    EXPECT_FALSE(answer.error) << answer.message();
    EXPECT_THAT(answer.body, HasSubstr("GET /x HTTP/1.1\r\n"));
    EXPECT_THAT(answer.body, HasSubstr("\r\nAuthorization: Bearer abc\r\n"));
}

// Requests that are sent together wait for a connection that might be shared; with HTTP/1.1 it cannot be, and a watch
// does not end.
TEST_F(CurlTls, WatchesBesideEachOtherWithoutHttp2) {
    const auto hold_open = [](TestConnection& connection) {
        static_cast<void>(connection.read_request());
        connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
        connection.wait_closed();
    };
    TestServer secured(hold_open, tls());
    TestServer plain(hold_open);
    for (TestServer* server : {&secured, &plain}) {
        Client asking = client(*server);
        std::array<Answer, 4> watches;
        for (auto& watch : watches) std::ignore = asking.watch("/", watch);
        EXPECT_TRUE(asking.run_until([&] {
            return std::all_of(watches.begin(), watches.end(), [](const auto& watch) { return watch.body == "x"; });
        })) << server->url();
        EXPECT_EQ(server->connections(), 4);
        Answer late;
        std::ignore = asking.watch("/", late);
        EXPECT_TRUE(asking.run_until([&] { return late.body == "x"; }));
    }
}

TEST_F(CurlTls, RefusesStrangersAndOtherNames) {
    TestServer server(echo, tls());
    expect_error(
        client(server, [&](ClientConfig& config, CurlOptions&) { config.authority.data = stranger.pem(); }).ask("/"),
        Kind::kTls, "certificate");
    expect_error(client(server, [&](ClientConfig& config, CurlOptions&) { config.authority = {}; }).ask("/"),
                 Kind::kTls, "certificate");
    TestServer other(echo, tls("DNS:api.example"));
    expect_error(client(other).ask("/"), Kind::kTls, "127.0.0.1");
    EXPECT_FALSE(client(other,
                        [](ClientConfig& config, CurlOptions&) {
                            config.authority = {};
                            config.insecure_skip_tls_verify = true;
                        })
                     .ask("/")
                     .error);
}

TEST_F(CurlTls, ChecksAnotherNameAtTheAddress) {
    TestServer server(echo, tls("DNS:api.example"));
    const auto named = [](const char* name) {
        return [name](ClientConfig& config, CurlOptions&) { config.tls_server_name = name; };
    };
    const Answer answer = client(server, named("api.example")).ask("/x");
    EXPECT_FALSE(answer.error) << answer.message();
    EXPECT_THAT(answer.body, HasSubstr("sni=api.example\n"));
    EXPECT_THAT(answer.body, HasSubstr(fmt::format("\r\nHost: 127.0.0.1:{}\r\n", server.port())));
    expect_error(client(server, named("other.example")).ask("/"), Kind::kTls, "other.example");
}

TEST_F(CurlTls, ShowsAClientCertificate) {
    TestTls wanted = tls();
    wanted.client_authority = authority.pem();
    TestServer server(echo, wanted);
    const auto with = [&](const ClientCertificate& pair) {
        return client(server,
                      [&](ClientConfig& config, CurlOptions&) {
                          config.certificate.data = pair.certificate;
                          config.key.data = pair.key;
                      })
            .ask("/");
    };
    const Answer good = with(authority.issue("me", ""));
    EXPECT_FALSE(good.error) << good.message();
    expect_error(client(server).ask("/"), Kind::kTls, "certificate required");
    expect_error(with(stranger.issue("me", "")), Kind::kTls, "alert");
    const ClientCertificate mixed{authority.issue("me", "").certificate, authority.issue("me", "").key};
    expect_error(with(mixed), Kind::kTls, server.url());
}

TEST_F(CurlTls, AChangedClientCertificateClosesConnections) {
    TestTls wanted = tls();
    wanted.client_authority = authority.pem();
    TestServer server(echo, wanted);
    TestServer silent(
        [](TestConnection& connection) {
            connection.read_request();
            connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            connection.wait_closed();
        },
        wanted);
    auto now = std::chrono::steady_clock::now();
    const auto put = [&] {
        const ClientCertificate pair = authority.issue("me", "");
        folder.write("me.pem", pair.certificate + pair.key);
    };
    const auto set = [&](ClientConfig& config, CurlOptions& options) {
        config.certificate.file = config.key.file = folder.path() + "/me.pem";
        options.time.steady = [&now] { return now; };
    };
    put();
    Client asking = client(server, set);
    EXPECT_FALSE(asking.ask("/").error);
    now += 2s;
    EXPECT_FALSE(asking.ask("/").error);
    EXPECT_EQ(server.connections(), 1) << "unchanged";
    put();
    now += 2s;
    EXPECT_FALSE(asking.ask("/").error);
    EXPECT_EQ(server.connections(), 2);
    folder.write("me.pem", "half written");
    now += 2s;
    EXPECT_FALSE(asking.ask("/").error) << "what was good is kept";
    EXPECT_EQ(server.connections(), 2);

    put();
    Client watching = client(silent, set);
    Answer watch;
    std::ignore = watching.watch("/", watch);
    ASSERT_TRUE(watching.run_until([&] { return watch.head.status == 200; })) << watch.message();
    put();
    now += 6min;
    ASSERT_TRUE(watching.run_to_end(watch)) << "nothing is sent, the check of every five minutes notices";
    expect_error(watch, Kind::kBroken, "the client certificate has changed");
}

TEST_F(CurlTls, ReadsTheAuthorityAgain) {
    TestServer server(
        [](TestConnection& connection) {
            connection.read_request();
            connection.answer("200 OK", "Connection: close\r\n", "");
        },
        tls());
    auto now = std::chrono::steady_clock::now();
    Client asking = client(server, [&](ClientConfig& config, CurlOptions& options) {
        config.authority = {folder.write("ca.crt", stranger.pem()), {}};
        options.time.steady = [&now] { return now; };
    });
    expect_error(asking.ask("/"), Kind::kTls, "certificate");
    folder.write("ca.crt", authority.pem());
    now += 4min;
    expect_error(asking.ask("/"), Kind::kTls, "certificate");
    now += 2min;
    EXPECT_FALSE(asking.ask("/").error);
    folder.write("ca.crt", "rubbish");
    now += 6min;
    EXPECT_FALSE(asking.ask("/").error) << "what was good is kept";
}

TEST_F(CurlTls, GivesUpOnAHandshakeThatHangs) {
    TestServer silent([](TestConnection& connection) { connection.wait_closed(); });
    Client asking(fmt::format("https://127.0.0.1:{}", silent.port()),
                  [](ClientConfig&, CurlOptions& options) { options.tls_limit = 200ms; });
    expect_error(asking.ask("/"), Kind::kTimeout, "no TLS within 200 ms");
    TestServer slow(
        [](TestConnection& connection) {
            const std::string request = connection.read_request();
            std::this_thread::sleep_for(300ms);  // the time is what is tested
            connection.answer("200 OK", "", "");
        },
        tls());
    EXPECT_FALSE(client(slow, [](ClientConfig&, CurlOptions& options) { options.tls_limit = 100ms; }).ask("/").error)
        << "only the handshake is limited";
    TestServer closing([](TestConnection& connection) { connection.read_some(1); });
    Client refused(fmt::format("https://127.0.0.1:{}", closing.port()));
    expect_error(refused.ask("/"), Kind::kBroken, "https://127.0.0.1");
    TestServer plain([](TestConnection& connection) { connection.write("HTTP/1.1 400 Bad Request\r\n\r\n"); });
    Client wrong(fmt::format("https://127.0.0.1:{}", plain.port()));
    expect_error(wrong.ask("/"), Kind::kTls, "https://127.0.0.1");
}

TEST_F(CurlTls, TunnelsThroughAProxy) {
    // Speaks for the server it is asked for, so that only the client's end of the tunnel is under test.
    TestServer proxy([](TestConnection& connection) {
        const std::string request = connection.read_request();
        EXPECT_THAT(request, HasSubstr("CONNECT api.example:6443 HTTP/1.1\r\n"));
        EXPECT_THAT(request, HasSubstr("Proxy-Authorization: Basic bWU6cGFzcw==\r\n"));
        EXPECT_THAT(request, Not(HasSubstr("Bearer")));
        connection.answer("502 Bad Gateway", "", "");
        connection.wait_closed();
    });
    Client asking("https://api.example:6443", [&](ClientConfig& config, CurlOptions&) {
        config.proxy_url = fmt::format("http://me:pass@127.0.0.1:{}", proxy.port());
        config.token = "secret";
    });
    expect_error(asking.ask("/"), Kind::kOther, "refuses with status 502");
    EXPECT_EQ(proxy.connections(), 1);
}

// HTTP/2.

class CurlHttp2 : public CurlTls {
  protected:
    [[nodiscard]] TestTls http2() const {
        TestTls both = tls();
        both.alpn = {"h2", "http/1.1"};
        return both;
    }
};

TEST_F(CurlHttp2, CarriesAllRequestsOnOneConnection) {
    // Answers the second stream first.
    TestServer server(
        [](TestConnection& connection) {
            TestHttp2 http(connection);
            std::vector<unsigned> streams;
            http.serve([&](unsigned stream) {
                streams.push_back(stream);
                if (streams.size() < 2) return;
                for (const unsigned one : {streams[1], streams[0]}) {
                    http.open(one);
                    http.data(one, fmt::format("stream {}", one), TestHttp2::kEndStream);
                }
            });
        },
        http2());
    Client asking = client(server);
    Answer first;
    Answer second;
    std::ignore = asking.get("/1", first);
    std::ignore = asking.watch("/2", second);
    ASSERT_TRUE(asking.run_until([&] { return first.ended() && second.ended(); }));
    EXPECT_FALSE(first.error) << first.message();
    EXPECT_EQ(first.head.status, 200);
    EXPECT_EQ(first.body, "stream 1");
    EXPECT_EQ(second.body, "stream 3");
    EXPECT_EQ(server.connections(), 1);
}

TEST_F(CurlHttp2, IsNotOfferedWhenDisabled) {
    TestServer server(
        [&server](TestConnection& connection) {
            server.note(connection.alpn());
            echo(connection);
        },
        http2());
    Client asking = client(server, [](ClientConfig&, CurlOptions& options) {
        options.environment = fake_environment({{"DISABLE_HTTP2", "1"}});
    });
    EXPECT_FALSE(asking.ask("/").error);
    EXPECT_THAT(server.notes(), ElementsAre("http/1.1"));
}

TEST_F(CurlHttp2, BrokenStreamsAndConnections) {
    struct Case {
        const char* name;
        std::function<void(TestHttp2&, TestConnection&, unsigned)> then;
    };
    const std::vector<Case> cases{
        {"reset of the stream",
         [](TestHttp2& http, TestConnection&, unsigned stream) {
             http.send(TestHttp2::kReset, 0, stream, TestHttp2::bytes(2, 4));
         }},
        {"going away",
         [](TestHttp2& http, TestConnection& connection, unsigned) {
             http.send(TestHttp2::kGoaway, 0, 0, TestHttp2::bytes(1, 4) + TestHttp2::bytes(0, 4));
             connection.shut_down();
         }},
        {"closed", [](TestHttp2&, TestConnection& connection, unsigned) { connection.shut_down(); }},
    };
    for (const auto& row : cases) {
        TestServer server(
            [&row](TestConnection& connection) {
                TestHttp2 http(connection);
                http.serve([&](unsigned stream) {
                    http.open(stream);
                    http.data(stream, "half");
                    row.then(http, connection, stream);
                });
            },
            http2());
        Client asking = client(server);
        Answer watch;
        std::ignore = asking.watch("/", watch);
        ASSERT_TRUE(asking.run_to_end(watch)) << row.name;
        ASSERT_TRUE(watch.error) << row.name;
        EXPECT_EQ(watch.error->kind, Kind::kBroken) << row.name << ": " << watch.message();
        EXPECT_EQ(watch.ends, 1);
    }
}

TEST_F(CurlHttp2, AConnectionThatIsNotAnsweredOnIsLeft) {
    // The first connection opens its first stream and is mute from then on.
    TestServer server(
        [&server](TestConnection& connection) {
            const bool mute = server.connections() == 1;
            TestHttp2 http(connection);
            http.serve([&](unsigned stream) {
                if (mute && stream > 1) return;
                http.open(stream);
                if (!mute) http.data(stream, "well", TestHttp2::kEndStream);
            });
        },
        http2());
    Client asking = client(server, [](ClientConfig&, CurlOptions& options) { options.silence_limit = 300ms; });
    Answer watch;
    std::ignore = asking.watch("/", watch);
    ASSERT_TRUE(asking.run_until([&] { return watch.head.status == 200; })) << watch.message();
    expect_error(asking.ask("/"), Kind::kTimeout, "no answer for 300 ms");
    expect_error(watch, Kind::kBroken, "connections are closed");
    EXPECT_EQ(asking.ask("/").body, "well");
    EXPECT_EQ(server.connections(), 2);
}

}  // namespace
}  // namespace ghostip::source::kubernetes

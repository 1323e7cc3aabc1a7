// Plain HTTP: answers, failures, limits, threads. TLS and HTTP/2 are in curl_tls_test.cpp, credentials in
// credentials_test.cpp.
#include "source/kubernetes/curl_transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "source/kubernetes/client_testing.h"
#include "source/kubernetes/server_testing.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Kind = TransportError::Kind;

// Answers every request of a connection with what it asked for.
void echo(TestConnection& connection) {
    for (std::string request; !(request = connection.read_request()).empty();)
        connection.answer("200 OK", "Content-Type: application/json\r\n", request);
}

// A port that was free a moment ago.
std::string url_of_nobody() { return fmt::format("http://127.0.0.1:{}", listen_tcp("127.0.0.1", 0).value().port); }

TEST(CurlTransport, CarriesARequestAndItsAnswer) {
    TestServer server(echo);
    Client client(server.url() + "/prefix", [](ClientConfig&, CurlOptions& options) { options.user_agent = "me/1"; });
    const Answer answer = client.ask("/api/v1/services?limit=500");
    EXPECT_FALSE(answer.error) << answer.message();
    EXPECT_EQ(answer.head.status, 200);
    EXPECT_EQ(answer.head.content_type, "application/json");
    EXPECT_THAT(answer.body, HasSubstr("GET /prefix/api/v1/services?limit=500 HTTP/1.1\r\n"));
    EXPECT_THAT(answer.body, HasSubstr("Accept: application/json\r\n"));
    EXPECT_THAT(answer.body, HasSubstr("User-Agent: me/1\r\n"));
    EXPECT_THAT(answer.body, HasSubstr("Accept-Encoding: gzip\r\n"));
    EXPECT_THAT(answer.body, Not(HasSubstr("Authorization")));
}

TEST(CurlTransport, SendsABody) {
    TestServer server(echo);
    Client client(server.url());
    for (const char* method : {"POST", "PATCH"}) {
        Answer answer;
        std::ignore = client.transport->send({.method = method,
                                              .target = "/x",
                                              .accept = "*/*",
                                              .content_type = "application/json",
                                              .body = "{\"a\":1}"},
                                             answer);
        ASSERT_TRUE(client.run_to_end(answer));
        EXPECT_THAT(answer.body, HasSubstr(std::string(method) + " /x HTTP/1.1"));
        EXPECT_THAT(answer.body, HasSubstr("Content-Type: application/json\r\n"));
        EXPECT_THAT(answer.body, HasSubstr("\r\n\r\n{\"a\":1}"));
        EXPECT_THAT(answer.body, Not(HasSubstr("Expect")));
    }
}

TEST(CurlTransport, KeepsConnectionsAlive) {
    TestServer server(echo);
    Client client(server.url());
    for (int i = 0; i < 5; ++i) EXPECT_FALSE(client.ask("/").error);
    EXPECT_EQ(server.connections(), 1);
}

TEST(CurlTransport, ReportsHeaders) {
    TestServer server([](TestConnection& connection) {
        connection.read_request();
        connection.answer(
            "429 Too Many Requests",
            "Retry-After: 7\r\nWarning: 299 - \"old \\\"api\\\"\", 299 x \"two\"\r\nwarning: 199 - \"no\"\r\n", "");
    });
    Client client(server.url());
    const Answer answer = client.ask("/");
    EXPECT_EQ(answer.head.status, 429);
    EXPECT_EQ(answer.head.retry_after, 7s);
    EXPECT_THAT(answer.head.warnings, ElementsAre("old \"api\"", "two"));
}

TEST(CurlTransport, NobodyListens) {
    const std::string url = url_of_nobody();
    Client client(url);
    const Answer answer = client.ask("/");
    ASSERT_TRUE(answer.error);
    EXPECT_EQ(answer.error->kind, Kind::kRefused);
    EXPECT_EQ(answer.message(), url + ": cannot connect: Connection refused");
}

TEST(CurlTransport, ConnectionsThatBreak) {
    struct Case {
        const char* name;
        TestServer::Serve serve;
        bool has_head;
    };
    const std::vector<Case> cases{
        {"closed before the answer", [](TestConnection& connection) { connection.read_request(); }, false},
        {"reset before the answer",
         [](TestConnection& connection) {
             connection.read_request();
             connection.reset_on_close();
         },
         false},
        {"closed in the body",
         [](TestConnection& connection) {
             connection.read_request();
             connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
         },
         true},
        {"closed in a chunk",
         [](TestConnection& connection) {
             connection.read_request();
             connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal");
         },
         true},
        {"closed between chunks",
         [](TestConnection& connection) {
             connection.read_request();
             connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
         },
         true},
        {"garbage",
         [](TestConnection& connection) {
             connection.read_request();
             connection.write("SSH-2.0-what\r\n");
         },
         false},
        {"huge headers",
         [](TestConnection& connection) {
             connection.read_request();
             connection.write("HTTP/1.1 200 OK\r\n");
             for (int i = 0; i < 5000 && connection.write("X: " + std::string(1000, 'x') + "\r\n"); ++i) {
             }
         },
         false},
        {"one huge header",
         [](TestConnection& connection) {
             connection.read_request();
             connection.write("HTTP/1.1 200 OK\r\nX: ");
             for (int i = 0; i < 5000 && connection.write(std::string(1000, 'x')); ++i) {
             }
         },
         false},
    };
    for (const auto& row : cases) {
        TestServer server(row.serve);
        Client client(server.url());
        const Answer answer = client.ask("/");
        EXPECT_EQ(answer.head.status == 200, row.has_head) << row.name;
        ASSERT_TRUE(answer.error) << row.name;
        // A head that is too large for libcurl itself has an error of its own.
        if (std::string_view(row.name) != "one huge header") {
            EXPECT_EQ(answer.error->kind, Kind::kBroken) << row.name << ": " << answer.message();
        }
        EXPECT_THAT(answer.message(), HasSubstr(server.url() + ": ")) << row.name;
        EXPECT_EQ(answer.ends, 1) << row.name;
    }
}

TEST(CurlTransport, OneByteAtATime) {
    TestServer server([](TestConnection& connection) {
        connection.read_request();
        for (const char byte : std::string("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nTransfer-Encoding: chunked\r\n\r\n"
                                           "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"))
            connection.write({&byte, 1});
        connection.wait_closed();
    });
    Client client(server.url());
    const Answer answer = client.ask("/");
    EXPECT_FALSE(answer.error) << answer.message();
    EXPECT_EQ(answer.head.content_type, "a/b");
    EXPECT_EQ(answer.body, "hello world");
}

TEST(CurlTransport, Unzips) {
    // `printf 'hello, hello, hello' | gzip -n`
    static const std::string kZipped(
        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\xd7\x51\xc8\x40\xa2\x00\x9f\xa1\xca\x09\x13\x00"
        "\x00\x00",
        29);
    TestServer server([](TestConnection& connection) {
        for (std::string request; !(request = connection.read_request()).empty();) {
            if (request.find("gzip") != std::string::npos)
                connection.answer("200 OK", "Content-Encoding: gzip\r\n", kZipped);
            else
                connection.answer("200 OK", "", "plain");
        }
    });
    Client client(server.url());
    const Answer zipped = client.ask("/");
    EXPECT_EQ(zipped.body, "hello, hello, hello") << zipped.message();
    Client plain(server.url(), [](ClientConfig& config, CurlOptions&) { config.disable_compression = true; });
    EXPECT_EQ(plain.ask("/").body, "plain");
}

TEST(CurlTransport, GivesUpOnSilence) {
    TestServer silent([](TestConnection& connection) { connection.wait_closed(); });
    TestServer halting([](TestConnection& connection) {
        connection.read_request();
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        connection.wait_closed();
    });
    const auto hasty = [](ClientConfig&, CurlOptions& options) { options.silence_limit = 200ms; };
    for (TestServer* server : {&silent, &halting}) {
        Client client(server->url(), hasty);
        const Answer answer = client.ask("/");
        ASSERT_TRUE(answer.error);
        EXPECT_EQ(answer.error->kind, Kind::kTimeout) << answer.message();
        EXPECT_THAT(answer.message(), HasSubstr(" for 200 ms"));
    }
    // A watch that is open may be silent.
    Client client(halting.url(), hasty);
    Answer watch;
    std::ignore = client.watch("/", watch);
    ASSERT_TRUE(client.run_until([&] { return watch.body == "half"; }));
    const auto begin = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - begin < 500ms) client.transport->run_for(50ms);
    EXPECT_FALSE(watch.ended()) << watch.message();
}

TEST(CurlTransport, DoesNotFollowARedirect) {
    TestServer other(echo);
    TestServer server([&](TestConnection& connection) {
        for (std::string request; !(request = connection.read_request()).empty();)
            connection.answer("302 Found", "Location: " + other.url() + "/stolen\r\n", "");
    });
    Client client(server.url());
    const Answer answer = client.ask("/");
    EXPECT_EQ(answer.head.status, 302);
    EXPECT_FALSE(answer.error);
    EXPECT_EQ(other.connections(), 0);
}

TEST(CurlTransport, GoesThroughAProxy) {
    TestServer proxy([](TestConnection& connection) {
        const std::string request = connection.read_request();
        connection.answer(request.starts_with("GET http://api.invalid/x HTTP/1.1") ? "200 OK" : "500 No", "", request);
    });
    Client client("http://api.invalid", [&](ClientConfig& config, CurlOptions&) { config.proxy_url = proxy.url(); });
    const Answer answer = client.ask("/x");
    EXPECT_EQ(answer.head.status, 200) << answer.message() << answer.body;
}

TEST(CurlTransport, SaysThatAProxyRefuses) {
    TestServer proxy([](TestConnection& connection) {
        connection.read_request();
        connection.answer("403 Forbidden", "", "");
        connection.wait_closed();
    });
    const std::string with_password = fmt::format("http://me:s3cret@127.0.0.1:{}", proxy.port());
    Client client("https://api.invalid", [&](ClientConfig& config, CurlOptions&) { config.proxy_url = with_password; });
    const Answer answer = client.ask("/x");
    ASSERT_TRUE(answer.error);
    EXPECT_EQ(answer.error->kind, Kind::kOther);
    EXPECT_THAT(answer.message(), HasSubstr("refuses with status 403"));
    EXPECT_THAT(answer.message(), Not(HasSubstr("s3cret")));
}

TEST(CurlTransport, CancelsFromWithinHandlers) {
    TestServer server(echo);
    Client client(server.url());
    Answer first;
    Answer second;
    const RequestId id = client.get("/1", first);
    const RequestId other = client.get("/2", second);
    first.at_head = [&] {
        client.transport->cancel(id);
        client.transport->cancel(other);
    };
    second.at_head = first.at_head;
    ASSERT_TRUE(client.run_until([&] { return first.head.status != 0 || second.head.status != 0; }));
    EXPECT_FALSE(client.ask("/3").error);
    EXPECT_EQ(first.ends + second.ends, 0);
    EXPECT_EQ(first.pieces + second.pieces, 0);
    client.transport->cancel(id);     // again
    client.transport->cancel(12345);  // never was

    Answer third;
    Answer fourth;
    third.at_head = [&] { std::ignore = client.get("/4", fourth); };
    std::ignore = client.get("/3", third);
    ASSERT_TRUE(client.run_until([&] { return third.ended() && fourth.ended(); })) << "sent from within a handler";
}

TEST(CurlTransport, EndsWithRequestsOpen) {
    TestServer server([](TestConnection& connection) { connection.wait_closed(); });
    Answer answer;
    {
        Client client(server.url());
        std::ignore = client.get("/", answer);
        client.transport->run_for(0ms);
    }
    EXPECT_EQ(answer.ends, 0);
}

TEST(CurlTransport, IsWokenByAnotherThread) {
    Client client(url_of_nobody());
    std::thread waker([&] { client.transport->wake(); });
    const auto begin = std::chrono::steady_clock::now();
    client.transport->run_for(60s);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
    waker.join();
}

class Figures : public TransportObserver {
  public:
    void on_request_done(const RequestDone& done) override {
        lines.push_back(fmt::format("{} {} {}", done.method, done.code, done.request_bytes));
        host = done.host;
    }
    void on_response_size(const std::string& method, const std::string& /*host*/, std::uint64_t bytes) override {
        lines.push_back(fmt::format("{} size {}", method, bytes));
    }
    void on_rate_limited(const std::string& /*method*/, const std::string& /*host*/,
                         std::chrono::duration<double> wait) override {
        waits.push_back(wait.count());
    }
    std::vector<std::string> lines;
    std::vector<double> waits;
    std::string host;
};

TEST(CurlTransport, CountsForMetrics) {
    TestServer server([](TestConnection& connection) {
        connection.read_request();
        connection.answer("404 Not Found", "", "12345");
    });
    Figures figures;
    Client client(server.url(), [&](ClientConfig&, CurlOptions& options) { options.observer = &figures; });
    client.ask("/");
    EXPECT_THAT(figures.lines, ElementsAre("GET 404 0", "GET size 5"));
    EXPECT_EQ(figures.host, fmt::format("127.0.0.1:{}", server.port()));
    figures.lines.clear();
    Client nobody(url_of_nobody(), [&](ClientConfig&, CurlOptions& options) { options.observer = &figures; });
    nobody.ask("/");
    EXPECT_THAT(figures.lines, ElementsAre("GET <error> 0"));
}

TEST(CurlTransport, HoldsToTheRateLimitButNotForWatches) {
    TestServer server(echo);
    auto now = std::chrono::steady_clock::now();
    Figures figures;
    Client client(server.url(), [&](ClientConfig&, CurlOptions& options) {
        options.qps = 1;
        options.burst = 2;
        options.time.steady = [&now] { return now; };
        options.observer = &figures;
    });
    std::vector<Answer> answers(4);
    for (Answer& answer : answers) std::ignore = client.get("/", answer);
    Answer watch;
    std::ignore = client.watch("/", watch);
    const auto ended = [&] {
        return std::count_if(answers.begin(), answers.end(), [](const Answer& one) { return one.ended(); });
    };
    ASSERT_TRUE(client.run_until([&] { return watch.ended() && ended() == 2; }));
    client.transport->run_for(0ms);
    EXPECT_EQ(ended(), 2);
    now += 1s;
    ASSERT_TRUE(client.run_until([&] { return ended() == 3; }));
    client.transport->run_for(0ms);
    EXPECT_EQ(ended(), 3);
    now += 1s;
    ASSERT_TRUE(client.run_until([&] { return ended() == 4; }));
    EXPECT_THAT(figures.waits, ElementsAre(0, 0, testing::DoubleNear(1, 0.01), testing::DoubleNear(2, 0.01)));
}

TEST(TokenBucket, FillsUpToItsBurst) {
    TokenBucket bucket(2, 3);
    const TokenBucket::Time start{1h};
    for (int i = 0; i < 3; ++i) EXPECT_EQ(bucket.take(start), start);
    EXPECT_EQ(bucket.take(start) - start, 500ms);
    EXPECT_EQ(bucket.take(start) - start, 1s);
    EXPECT_EQ(bucket.take(start + 10s) - start, 10s);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(bucket.take(start + 10s) - start, 10s);
    EXPECT_GT(bucket.take(start + 10s) - start, 10s);
    TokenBucket none(-1, 0);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(none.take(start), start);
}

TEST(UserAgent, HasKubernetesShape) {
    EXPECT_THAT(user_agent("kube-proxy", "v1.36.2-rc.1+x", "0123456789abcdef"),
                ::testing::MatchesRegex("kube-proxy/v1.36.2 \\(linux/[a-z0-9]+\\) kubernetes/0123456"));
}

}  // namespace
}  // namespace ghostip::source::kubernetes

#include "http/server.h"

#include <future>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/client_testing.h"

namespace ghostip::http {
namespace {

using testing::ask;
using testing::Client;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::parse_answer;
using ::testing::StartsWith;

// Says what it was asked.
Response echo(const Request& request) {
    std::string text = request.method + " " + request.path;
    for (const auto& [name, value] : request.query) text.append(" ").append(name).append("=").append(value);
    return {200,
            text + " " + request.header("x-word") + " [" + request.body + "]",
            {{"X-Tag", std::to_string(request.tag)}}};
}

std::unique_ptr<Server> serve() {
    const auto big = [](const Request&) {
        return Response{200, std::string(100'000, 'a'), {}, Compression::kIfAccepted};
    };
    auto server =
        Server::listen("127.0.0.1", 0, {{"/echo", {echo, Methods::kAny}}, {"/read", {echo}}, {"/big", {big}}});
    EXPECT_TRUE(server) << server.error().message;
    return std::move(server).value();
}

TEST(HttpServer, Answers) {
    const auto server = serve();
    struct Case {
        const char* name;
        const char* target;
        const char* headers;
        std::string body;
        int status;
        std::string answer;
    };
    const std::vector<Case> cases{
        {"plain", "GET /read", "", "", 200, "GET /read  []"},
        {"query", "GET /read?verbose&a=1%202", "", "", 200, "GET /read a=1 2 verbose=  []"},
        {"header, whatever its case", "GET /read", "X-WORD: yes\r\n", "", 200, "GET /read yes []"},
        {"head", "HEAD /read", "", "", 200, ""},
        {"body", "PUT /echo", "", "4", 200, "PUT /echo  [4]"},
        {"any method", "DELETE /echo", "", "", 200, "DELETE /echo  []"},
        {"largest body", "PUT /echo", "", std::string(4096, 'x'), 200, "PUT /echo  [" + std::string(4096, 'x') + "]"},
        {"too large", "PUT /echo", "", std::string(4097, 'x'), 413, "request body too large\n"},
        {"only reading", "POST /read", "", "x", 405, "method not allowed\n"},
        {"unknown", "GET /echo/x", "", "", 404, "404 page not found\n"},
        {"encoded", "GET /%72ead", "", "", 200, "GET /read  []"},
    };
    for (const auto& c : cases) {
        const auto answer = ask(server->port(), c.target, c.headers, c.body);
        EXPECT_EQ(answer.status, c.status) << c.name;
        EXPECT_EQ(answer.body, c.answer) << c.name;
    }
    EXPECT_THAT(ask(server->port(), "GET /nowhere").head, HasSubstr("Content-Type: text/plain; charset=utf-8\r\n"));
}

TEST(HttpServer, CompressesWhereAccepted) {
    const auto server = serve();
    const auto plain = ask(server->port(), "GET /big");
    EXPECT_EQ(plain.body.size(), 100'000U);
    EXPECT_THAT(plain.head, Not(HasSubstr("Content-Encoding")));
    const auto packed = ask(server->port(), "GET /big", "Accept-Encoding: gzip\r\n");
    EXPECT_LT(packed.body.size(), 1000U);
    EXPECT_THAT(packed.body, StartsWith("\x1f\x8b"));
    EXPECT_THAT(packed.head, HasSubstr("Content-Encoding: gzip\r\n"));
}

TEST(HttpServer, SeveralSocketsOfBothFamilies) {
    auto server = std::move(Server::start(echo)).value();
    auto first = listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(first);
    const auto port = first->port;
    ASSERT_TRUE(server->open(std::move(*first), 7));
    auto same_port = listen_tcp("::1", port, Accepts::kOwnFamily);
    const bool has_ipv6 = same_port.has_value();  // some hosts have none
    if (has_ipv6) {
        ASSERT_TRUE(server->open(std::move(*same_port), 8));
        EXPECT_THAT(ask(port, "GET /", "", "", "::1").head, HasSubstr("X-Tag: 8\r\n"));
    }
    EXPECT_THAT(ask(port, "GET /").head, HasSubstr("X-Tag: 7\r\n"));
    EXPECT_EQ(server->port(), 0);
}

TEST(HttpServer, ClosingEndsConnectionsAndFreesThePort) {
    auto server = std::move(Server::start(echo)).value();
    auto listener = listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener);
    const auto port = listener->port;
    ASSERT_TRUE(server->open(std::move(*listener), 7));
    const Client idle(port);
    idle.send("GET /a HTTP/1.1\r\nHost: n\r\n\r\n");
    EXPECT_THAT(idle.read("[]"), HasSubstr(" 200 "));
    server->close(7);
    EXPECT_FALSE(Client(port).connected()) << "at once";
    EXPECT_EQ(idle.read(), "") << "an idle connection ends, too";
    auto again = listen_tcp("127.0.0.1", port);
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_TRUE(server->open(std::move(*again), 9));
    EXPECT_THAT(ask(port, "GET /").head, HasSubstr("X-Tag: 9\r\n"));
    server->close(12345);  // nobody has it
    EXPECT_EQ(ask(port, "GET /").status, 200);
}

// Whoever holds connections and says nothing keeps nobody out.
TEST(HttpServer, TheOldestConnectionMakesRoom) {
    const auto server = serve();
    std::vector<Client> silent;
    for (int i = 0; i < 350; ++i) {
        silent.emplace_back(server->port());
        ASSERT_TRUE(silent.back().connected()) << i;
    }
    EXPECT_EQ(ask(server->port(), "GET /read").status, 200);
    EXPECT_EQ(silent.front().read(), "") << "it made room";
    silent.back().send("GET /read HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(parse_answer(silent.back().read()).status, 200) << "the youngest did not";
}

TEST(HttpServer, SurvivesNonsense) {
    const auto server = serve();
    for (const std::string& bytes :
         {std::string("\r\n\r\n"), std::string("GET\r\n\r\n"), std::string("GET / HTTP/9.9\r\n\r\n"),
          std::string("PUT /echo HTTP/1.1\r\nHost: n\r\nContent-Length: -1\r\n\r\n"),
          std::string("PUT /echo HTTP/1.1\r\nHost: n\r\nContent-Length: 99999999999999999999\r\n\r\n"),
          "GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n\r\n", std::string(2000, '\0'),
          "GET / HTTP/1.1\r\nX: " + std::string(100'000, 'b') + "\r\n\r\n", std::string("\x16\x03\x01\x02\x01\xfc")}) {
        const Client client(server->port());
        ASSERT_TRUE(client.connected());
        client.send(bytes);
    }
    EXPECT_EQ(ask(server->port(), "GET /read").status, 200);
}

TEST(HttpServer, ManyAskAtOnce) {
    const auto server = serve();
    std::vector<std::future<int>> answers;
    answers.reserve(8);
    for (int i = 0; i < 8; ++i)
        answers.push_back(std::async(std::launch::async, [&] {
            int good = 0;
            for (int n = 0; n < 50; ++n)
                if (ask(server->port(), "GET /read").status == 200) ++good;
            return good;
        }));
    for (auto& answer : answers) EXPECT_EQ(answer.get(), 50);
}

TEST(HttpServer, SaysWhyItCannotListen) {
    const auto server = serve();
    const auto second = Server::listen("127.0.0.1", server->port(), {});
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr("127.0.0.1 port " + std::to_string(server->port())));
    EXPECT_FALSE(Server::listen("nonsense", 0, {}));
}

}  // namespace
}  // namespace ghostip::http

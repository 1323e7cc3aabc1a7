#include "source/kubernetes/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>

#include "source/kubernetes/client_testing.h"
#include "source/kubernetes/server_testing.h"

namespace ghostip::source::kubernetes {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::string_view kVersion = "client.authentication.k8s.io/v1";

class CredentialsTest : public ::testing::Test, protected TransportObserver {
  protected:
    CredentialsTest() { config.server = parse_server_url("https://h", SchemeIfNone::kHttps).value(); }

    Credentials make() {
        return Credentials(
            config, fake_environment({}), {[this] { return steady; }, [this] { return wall; }},
            [this] {
                const std::lock_guard lock(mutex);
                ++wakes;
                woken.notify_all();
            },
            this);
    }
    // The headers, or the error; waits for a plugin.
    std::vector<std::string> ask(Credentials& credentials) {
        const auto ticket = credentials.ticket();
        while (true) {
            std::unique_lock lock(mutex);
            const int before = wakes;
            lock.unlock();
            auto prepared = credentials.prepare(ticket);
            if (const auto* error = std::get_if<Error>(&prepared)) return {"error: " + error->message};
            if (auto* identity = std::get_if<Identity>(&prepared)) {
                last = std::move(*identity);
                return last.headers;
            }
            lock.lock();
            if (!woken.wait_for(lock, 20s, [&] { return wakes > before; })) return {"error: nothing came"};
        }
    }
    std::string ask_one(Credentials& credentials) {
        const auto headers = ask(credentials);
        return headers.empty() ? "none" : headers.front();
    }
    void on_notice(const std::string& line) override { notices.push_back(line); }
    void on_plugin_called(const PluginCalled& called) override {
        calls.push_back(fmt::format("{} {}{}", called.exit_code, called.status, called.expires ? " expires" : ""));
    }

    // A plugin that counts its runs in `runs` and prints `answer`.
    void set_plugin(const std::string& answer, const std::string& before = {}) {
        folder.write("answer", answer);
        config.exec = ExecPlugin{
            .command = folder.script(
                "plugin", before + "printf x >>\"$COUNT\"\nprintf '%s' \"$KUBERNETES_EXEC_INFO\" >\"$COUNT.info\"\n"
                                   "cat \"$ANSWER\"\n"),
            .arguments = {},
            .environment = {{"COUNT", folder.path() + "/runs"}, {"ANSWER", folder.path() + "/answer"}},
            .api_version = std::string(kVersion),
            .install_hint = "get it there",
            .interactive = InteractiveMode::kNever};
    }
    static std::string credential(const std::string& status) {
        return fmt::format(R"({{"kind":"ExecCredential","apiVersion":"{}","status":{{{}}}}})", kVersion, status);
    }

    TemporaryFolder folder;
    ClientConfig config;
    std::chrono::steady_clock::time_point steady{1000h};
    std::chrono::system_clock::time_point wall{std::chrono::seconds(1'700'000'000)};  // 2023-11-14T22:13:20Z
    Identity last;
    std::vector<std::string> notices;
    std::vector<std::string> calls;
    std::mutex mutex;
    std::condition_variable woken;
    int wakes = 0;  // guarded by mutex
};

TEST_F(CredentialsTest, Nothing) {
    auto credentials = make();
    EXPECT_THAT(ask(credentials), IsEmpty());
    EXPECT_FALSE(last.certificate.given());
}

TEST_F(CredentialsTest, BasicAndImpersonation) {
    config.username = "me";
    config.password = "pass";
    config.impersonation = {"jane", "u1", {"a", "b"}, {{"example.com/a b", {"x", "z"}}}};
    auto credentials = make();
    EXPECT_THAT(ask(credentials),
                ElementsAre("Authorization: Basic bWU6cGFzcw==", "Impersonate-User: jane", "Impersonate-Uid: u1",
                            "Impersonate-Group: a", "Impersonate-Group: b", "Impersonate-Extra-example.com%2Fa%20b: x",
                            "Impersonate-Extra-example.com%2Fa%20b: z"));
    config.server.scheme = "http";
    auto in_the_clear = make();
    EXPECT_THAT(ask(in_the_clear), IsEmpty());
}

TEST_F(CredentialsTest, ATokenFileIsReadAgainAfterFiftySeconds) {
    config.token_file = folder.write("token", " one\n");
    auto credentials = make();
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer one");
    folder.write("token", "two");
    steady += 50s;
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer one");
    steady += 1s;
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer two");
    for (const char* bad : {"", " \n", "line\nbreak"}) {
        folder.write("token", bad);
        steady += 60s;
        EXPECT_EQ(ask_one(credentials), "Authorization: Bearer two") << bad;
    }
    folder.remove("token");
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer two");
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer two");
    ASSERT_EQ(notices.size(), 3U) << "each reason once";
    EXPECT_THAT(notices[0], HasSubstr("token: is empty; the token read before is used"));
    EXPECT_THAT(notices[1], Not(HasSubstr("break")));
    EXPECT_THAT(notices[2], HasSubstr("No such file"));
    folder.write("token", "three");
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer three") << "at once: the last reading failed";
}

TEST_F(CredentialsTest, ARejectedTokenIsReadAgain) {
    config.token_file = folder.write("token", "one");
    auto credentials = make();
    ask(credentials);
    folder.write("token", "two");
    credentials.rejected(last);
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer two");
}

TEST_F(CredentialsTest, ATokenServesUntilItsFileIsThere) {
    config.token = "first";
    config.token_file = folder.path() + "/token";
    auto credentials = make();
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer first");
    folder.write("token", "later");
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer later");
    config.token.clear();
    folder.remove("token");
    auto none = make();
    EXPECT_THAT(ask_one(none), HasSubstr("error: " + config.token_file + ": No such file"));
}

TEST_F(CredentialsTest, APluginIsCachedUntilItExpires) {
    set_plugin(credential(R"("token":"one","expirationTimestamp":"2023-11-14T23:13:20+00:30")"));
    auto credentials = make();
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer one");
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer one");
    EXPECT_EQ(folder.read("runs"), "x");
    EXPECT_EQ(folder.read("runs.info"),
              fmt::format(R"({{"kind":"ExecCredential","apiVersion":"{}","spec":{{"interactive":false}}}})", kVersion));
    wall += 29min;
    ask(credentials);
    EXPECT_EQ(folder.read("runs"), "x");
    folder.write("answer", credential(R"("token":"two")"));
    wall += 1min;
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer two");
    wall += 100h;
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer two") << "no expiry: for ever";
    EXPECT_EQ(folder.read("runs"), "xx");
    EXPECT_THAT(calls, ElementsAre("0 no_error expires", "0 no_error"));
}

TEST_F(CredentialsTest, APluginRunsAgainOnceWhenRejected) {
    set_plugin(credential(R"("token":"one")"));
    auto credentials = make();
    ask(credentials);
    const Identity first = last;
    credentials.rejected(first);
    credentials.rejected(first);
    ask(credentials);
    EXPECT_EQ(folder.read("runs"), "xx");
    credentials.rejected(first);  // late: these are not the credentials any more
    ask(credentials);
    EXPECT_EQ(folder.read("runs"), "xx");
}

TEST_F(CredentialsTest, APluginThatHandsOutWhatHasExpiredServesOneRequest) {
    set_plugin(credential(R"("token":"old","expirationTimestamp":"2001-01-01T00:00:00Z")"));
    auto credentials = make();
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer old");
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer old");
    EXPECT_EQ(folder.read("runs"), "xx");
}

TEST_F(CredentialsTest, APluginIsToldAboutTheCluster) {
    set_plugin(credential(R"("token":"t")"));
    config.exec->provide_cluster_info = true;
    config.exec->cluster_config = R"({"a":1})";
    config.authority.data = "ca";
    config.tls_server_name = "n";
    config.proxy_url = "http://p";
    config.disable_compression = true;
    auto credentials = make();
    ask(credentials);
    EXPECT_THAT(folder.read("runs.info"),
                HasSubstr(R"("spec":{"cluster":{"server":"https://h:443","tls-server-name":"n",)"
                          R"("certificate-authority-data":"Y2E=","proxy-url":"http://p","disable-compression":true,)"
                          R"("config":{"a":1}},"interactive":false})"));
}

TEST_F(CredentialsTest, APluginsCertificate) {
    const ClientCertificate pair = TestAuthority("a").issue("me", "");
    const auto quoted = [](std::string text) {
        for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) text.replace(at, 1, "\\n");
        return "\"" + text + "\"";
    };
    set_plugin(credential(
        fmt::format(R"("clientCertificateData":{},"clientKeyData":{})", quoted(pair.certificate), quoted(pair.key))));
    auto credentials = make();
    EXPECT_THAT(ask(credentials), IsEmpty());
    EXPECT_EQ(last.certificate, pair);
}

TEST_F(CredentialsTest, PluginsThatFail) {
    struct Case {
        std::string answer;
        std::string before;
        std::string error;
        std::string call;
    };
    const std::string other =
        R"({"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","status":{"token":"s3cret"}})";
    const std::vector<Case> cases{
        {"", "exit 3\n", "failed with exit code 3", "3 plugin_execution_error"},
        {"", "kill -9 $$\n", "failed with exit code 137", "137 plugin_execution_error"},
        {"", "", "is empty", "0 client_internal_error"},
        {"s3cret", "", "does not hold a mapping", "0 client_internal_error"},
        {R"({"kind":"Secret","token":"s3cret"})", "", "kind: must be ExecCredential", "0 client_internal_error"},
        {other, "", "apiVersion: must be client.authentication.k8s.io/v1, as", "0 client_internal_error"},
        {fmt::format(R"({{"kind":"ExecCredential","apiVersion":"{}"}})", kVersion), "", "status: is missing",
         "0 client_internal_error"},
        {credential(""), "", "holds neither token nor clientCertificateData", "0 client_internal_error"},
        {credential(R"("token":["s3cret"])"), "", "status.token: must be text", "0 client_internal_error"},
        {credential(R"("token":"s3c ret")"), "", "characters that no bearer token has", "0 no_error"},
        {credential(R"("token":"s3cret","clientKeyData":"x")"), "", "only one of clientCertificateData and",
         "0 client_internal_error"},
        {credential(R"("clientCertificateData":"s3cret","clientKeyData":"x")"), "", "holds no CERTIFICATE",
         "0 client_internal_error"},
        {credential(R"("token":"s3cret","expirationTimestamp":"soon")"), "", "must be a time by RFC 3339",
         "0 client_internal_error"},
        {"", "head -c 2000000 /dev/zero\n", "says more than 1048576 bytes", "1 plugin_execution_error"},
    };
    for (const auto& row : cases) {
        calls.clear();
        set_plugin(row.answer, row.before);
        auto credentials = make();
        const std::string error = ask_one(credentials);
        EXPECT_THAT(error, HasSubstr(row.error));
        EXPECT_THAT(error, HasSubstr("error: exec: "));
        EXPECT_THAT(error, Not(HasSubstr("s3c")));
        EXPECT_THAT(calls, ElementsAre(row.call)) << row.error;
        set_plugin(credential(R"("token":"good")"));
        if (row.call != "0 no_error") {
            EXPECT_EQ(ask_one(credentials), "Authorization: Bearer good") << "the next request tries again";
        }
    }
}

TEST_F(CredentialsTest, APluginThatIsNotThere) {
    set_plugin("");
    config.exec->command = folder.path() + "/none";
    auto credentials = make();
    EXPECT_EQ(ask_one(credentials),
              fmt::format("error: exec: executable {}/none not found; get it there", folder.path()));
    EXPECT_THAT(calls, ElementsAre("1 plugin_not_found_error"));
    config.exec->interactive = InteractiveMode::kAlways;
    if (::isatty(STDIN_FILENO) == 0) {
        EXPECT_THAT(ask_one(credentials), HasSubstr("wants a terminal"));
    }
}

TEST_F(CredentialsTest, APluginThatHangsEndsWithUs) {
    set_plugin("", "exec sleep 1000\n");
    const auto begin = std::chrono::steady_clock::now();
    {
        auto credentials = make();
        EXPECT_TRUE(std::holds_alternative<Credentials::Pending>(credentials.prepare(credentials.ticket())));
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s);
}

TEST_F(CredentialsTest, APluginWhoseChildLivesOnIsNotWaitedFor) {
    set_plugin(credential(R"("token":"t")"), "sleep 100 & printf $! >\"$COUNT.child\"\n");
    auto credentials = make();
    EXPECT_EQ(ask_one(credentials), "Authorization: Bearer t");
    ::kill(std::stoi(folder.read("runs.child")), SIGKILL);
}

TEST(Rfc3339, Times) {
    const auto seconds = [](const char* text) -> std::int64_t {
        const auto time = parse_rfc3339(text);
        return time ? std::chrono::duration_cast<std::chrono::seconds>(time->time_since_epoch()).count() : -1;
    };
    EXPECT_EQ(seconds("1970-01-01T00:00:01Z"), 1);
    EXPECT_EQ(seconds("2023-11-14T22:13:20.999999999Z"), 1'700'000'000);
    EXPECT_EQ(seconds("2023-11-15T00:13:20+02:00"), 1'700'000'000);
    EXPECT_EQ(seconds("2023-11-14T14:13:20-08:00"), 1'700'000'000);
    for (const char* bad :
         {"", "2023", "2023-11-14", "2023-11-14T22:13:20", "2023-13-14T22:13:20Z", "2023-11-14T22:13:20.Z",
          "2023-11-14T22:13:20Zx", "2023-11-14T22:13:20+0200", "-023-11-14T22:13:20Z", "2023-11-14T22:61:20Z"})
        EXPECT_EQ(seconds(bad), -1) << bad;
}

// The transport, asked to wait for a plugin.
TEST_F(CredentialsTest, TheTransportWaitsForThePluginAndRefreshesAfter401) {
    const TestAuthority authority("ours");
    TestServer server(
        [](TestConnection& connection) {
            for (std::string request; !(request = connection.read_request()).empty();)
                connection.answer(request.find("Bearer good") != std::string::npos ? "200 OK" : "401 Unauthorized", "",
                                  request);
        },
        TestTls{.identity = authority.issue("server", "IP:127.0.0.1")});
    set_plugin(credential(R"("token":"bad")"));
    Client client(server.url(), [&](ClientConfig& told, CurlOptions& options) {
        told.exec = config.exec;
        told.authority.data = authority.pem();
        options.observer = this;
    });
    EXPECT_EQ(client.ask("/").head.status, 401);
    EXPECT_EQ(folder.read("runs"), "x") << "the answer stands; the next request has new credentials";
    folder.write("answer", credential(R"("token":"good")"));
    EXPECT_EQ(client.ask("/").head.status, 200);
    EXPECT_EQ(client.ask("/").head.status, 200);
    EXPECT_EQ(folder.read("runs"), "xx");
    EXPECT_EQ(server.connections(), 1) << "a changed token closes no connection";
}

TEST_F(CredentialsTest, TheTransportSaysThatThereAreNone) {
    Client client("https://127.0.0.1:1",
                  [&](ClientConfig& told, CurlOptions&) { told.token_file = folder.path() + "/none"; });
    const Answer answer = client.ask("/");
    ASSERT_TRUE(answer.error);
    EXPECT_EQ(answer.error->kind, TransportError::Kind::kCredentials);
    EXPECT_THAT(answer.message(),
                HasSubstr("https://127.0.0.1:1: no credentials: " + folder.path() + "/none: No such file"));
}

}  // namespace
}  // namespace ghostip::source::kubernetes

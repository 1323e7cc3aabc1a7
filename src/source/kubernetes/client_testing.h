// The client's side of tests: an answer as it came, and a transport that is run until something holds.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "source/kubernetes/curl_transport.h"
#include "source/kubernetes/kubernetes_testing.h"

namespace ghostip::source::kubernetes {

class Answer : public ResponseHandler {
  public:
    void on_head(const ResponseHead& told) override {
        head = told;
        if (at_head) at_head();
    }
    void on_body(std::string_view bytes) override {
        body += bytes;
        ++pieces;
        if (at_body) at_body();
    }
    void on_end(const std::optional<TransportError>& told) override {
        ++ends;
        error = told;
    }
    [[nodiscard]] bool ended() const { return ends > 0; }
    [[nodiscard]] std::string message() const { return error ? error->message : "no error"; }

    ResponseHead head;
    std::string body;
    int pieces = 0;
    int ends = 0;
    std::optional<TransportError> error;
    std::function<void()> at_head;
    std::function<void()> at_body;
};

class Client {
  public:
    // `set` says what the URL does not.
    explicit Client(const std::string& url, const std::function<void(ClientConfig&, CurlOptions&)>& set = {}) {
        ClientConfig config;
        config.server = parse_server_url(url, SchemeIfNone::kHttp).value();
        CurlOptions options;
        options.environment = fake_environment({});
        options.qps = -1;
        if (set) set(config, options);
        auto made = CurlTransport::create(std::move(config), std::move(options));
        EXPECT_TRUE(made) << made.error().message;
        if (made) transport = std::move(*made);
    }

    RequestId get(const std::string& target, Answer& answer) {
        return transport->send({.target = target, .accept = "application/json"}, answer);
    }
    RequestId watch(const std::string& target, Answer& answer) {
        return transport->send({.target = target, .accept = "application/json", .rate_limited = false}, answer);
    }
    // Whether it came to hold within 20 s.
    [[nodiscard]] bool run_until(const std::function<bool()>& holds) const {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!holds() && std::chrono::steady_clock::now() < deadline)
            transport->run_for(std::chrono::milliseconds(20));
        return holds();
    }
    [[nodiscard]] bool run_to_end(const Answer& answer) const {
        return run_until([&] { return answer.ended(); });
    }
    // One whole request.
    Answer ask(const std::string& target) {
        Answer answer;
        std::ignore = get(target, answer);
        EXPECT_TRUE(run_to_end(answer)) << target << " did not end";
        return answer;
    }

    std::unique_ptr<CurlTransport> transport;
};

}  // namespace ghostip::source::kubernetes

// For tests: one reflector against a scripted server, with the clock in the test's hand.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "api/encode.h"
#include "source/kubernetes/memory_transport.h"
#include "source/kubernetes/reflector.h"

namespace ghostip::source::kubernetes::testing {

inline constexpr auto kJson = "application/json";

// ---- What a server says.

inline api::Object service(std::string_view name, std::uint16_t port = 80) {
    api::Service service;
    service.namespace_ = "default";
    service.name = name;
    service.cluster_ip = net::IpAddress::parse("10.96.0.1");
    service.cluster_ips = {*service.cluster_ip};
    service.ip_families = {net::Family::kIpv4};
    service.ports = {{"http", net::Protocol::kTcp, port, 0}};
    return std::make_shared<const api::Service>(service);
}

// As the API server writes it.
inline std::string json(const api::Object& object, std::string_view version) {
    std::string text = api::to_json(object);
    const std::string metadata = R"("metadata":{)";
    text.insert(text.find(metadata) + metadata.size(), fmt::format(R"("resourceVersion":"{}",)", version));
    return text;
}

// Not even its port is a number.
inline std::string undecodable(std::string_view name, std::string_view version) {
    return fmt::format(
        R"({{"apiVersion":"v1","kind":"Service","metadata":{{"namespace":"default","name":"{}","resourceVersion":"{}"}},)"
        R"("spec":{{"ports":[{{"port":"many"}}]}}}})",
        name, version);
}

inline std::string event(std::string_view type, std::string_view object) {
    return fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, object);
}
inline std::string added(const api::Object& object, std::string_view version) {
    return event("ADDED", json(object, version));
}
inline std::string modified(const api::Object& object, std::string_view version) {
    return event("MODIFIED", json(object, version));
}
inline std::string deleted(const api::Object& object, std::string_view version) {
    return event("DELETED", json(object, version));
}
inline std::string bookmark(std::string_view version, bool all_there = false, api::Kind kind = api::Kind::kService) {
    return event("BOOKMARK",
                 fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}"{}}}}})",
                             api::kind_name(kind), kind == api::Kind::kEndpointSlice ? "discovery.k8s.io/v1" : "v1",
                             version, all_there ? R"(,"annotations":{"k8s.io/initial-events-end":"true"})" : ""));
}
inline std::string status(int code, std::string_view reason, std::string_view message = "because") {
    return fmt::format(
        R"({{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{}","reason":"{}","code":{}}})",
        message, reason, code);
}
inline std::string too_large() { return status(504, "Timeout", "Timeout: Too large resource version: 99, current: 5"); }

inline std::string list(const std::vector<std::string>& items, std::string_view version,
                        std::string_view continue_token = "") {
    return fmt::format(
        R"({{"kind":"ServiceList","apiVersion":"v1","metadata":{{"resourceVersion":"{}"{}}},"items":[{}]}})", version,
        continue_token.empty() ? "" : fmt::format(R"(,"continue":"{}")", continue_token), fmt::join(items, ","));
}

// ---- Who hears of it.

class Folded : public ReflectorListener {
  public:
    void changed(std::vector<api::Change> changes) override {
        EXPECT_FALSE(changes.empty());
        ++deliveries;
        for (auto& change : changes) {
            if (change.object)
                objects[change.key] = *change.object;
            else
                EXPECT_EQ(objects.erase(change.key), 1U) << change.key.text() << " is removed, but is not there";
        }
        if (after_change) after_change();
    }
    void synced(api::Kind /*kind*/) override { ++syncs; }
    void held(const HeldRemoval& removal) override { alarms.push_back(removal); }
    void say(log::Level level, std::string text) override {
        if (level != log::Level::kDebug) lines.push_back(std::move(text));
    }

    [[nodiscard]] std::string names() const {
        std::string text;
        for (const auto& [key, object] : objects) text += (text.empty() ? "" : " ") + key.name;
        return text;
    }
    [[nodiscard]] std::uint16_t port_of(std::string_view name) const {
        const auto found = objects.find({api::Kind::kService, "default", std::string(name)});
        return found == objects.end() ? std::uint16_t{0}
                                      : std::get<std::shared_ptr<const api::Service>>(found->second)->ports.at(0).port;
    }
    // How many lines have this in them.
    [[nodiscard]] int said(std::string_view part) const {
        return static_cast<int>(
            std::ranges::count_if(lines, [&](const auto& line) { return line.find(part) != std::string::npos; }));
    }

    std::map<api::ObjectKey, api::Object> objects;
    std::vector<std::string> lines;
    std::vector<HeldRemoval> alarms;
    int deliveries = 0;
    int syncs = 0;
    std::function<void()> after_change;
};

// ---- The two together.

class Scene {
  public:
    explicit Scene(ReflectorOptions options = {}, Resource resource = services())
        : reflector(std::move(resource), std::move(options), {[this] { return now; }, [this] { return random(); }},
                    server, folded) {
        server.on_idle([this](std::chrono::milliseconds /*limit*/) { idle_ = true; });
    }

    // Delivers all that is scripted, and what follows from it at this time.
    void run() {
        for (int turn = 0; turn < 10'000; ++turn) {
            reflector.tick();
            idle_ = false;
            server.run_for(std::chrono::milliseconds(0));
            if (idle_ && reflector.due() > now) return;
        }
        ADD_FAILURE() << "a busy loop";
    }
    // The same while time passes.
    void pass(std::chrono::milliseconds duration) {
        const auto end = now + duration;
        run();
        while (reflector.due() <= end) {
            now = std::max(now, reflector.due());
            run();
        }
        now = end;
        run();
    }

    // The one request that is open; an empty one if there is none.
    [[nodiscard]] MemoryTransport::Sent open() const {
        const auto requests = server.open_requests();
        EXPECT_LE(requests.size(), 1U);
        return requests.empty() ? MemoryTransport::Sent{} : requests.front();
    }
    [[nodiscard]] std::string target() const { return open().request.target; }
    [[nodiscard]] bool asks(std::string_view part) const { return target().find(part) != std::string::npos; }

    // Scripts for the open request.
    void head(int code = 200, std::string type = kJson) { server.head(open().id, code, std::move(type)); }
    void body(std::string bytes) { server.body(open().id, std::move(bytes)); }
    void end() { server.end(open().id); }
    void fail(TransportError::Kind kind) { server.end(open().id, kind, "api.test: trouble"); }
    void answer(int code, std::string bytes, std::string type = kJson) {
        server.answer(open().id, code, std::move(type), std::move(bytes));
        run();
    }
    void send(std::string bytes) {
        body(std::move(bytes));
        run();
    }

    // A streaming list of these, which is then a watch.
    void start(const std::vector<api::Object>& objects, std::string_view version) {
        reflector.start();
        stream(objects, version);
    }
    void stream(const std::vector<api::Object>& objects, std::string_view version) {
        EXPECT_TRUE(asks("sendInitialEvents=true")) << target();
        head();
        for (const auto& object : objects) body(added(object, "1"));
        send(bookmark(version, true, reflector.resource().kind));
    }

    MemoryTransport server;
    Folded folded;
    Clock::time_point now = Clock::time_point(std::chrono::hours(1));
    std::function<double()> random = [] { return 0.5; };
    Reflector reflector;

  private:
    bool idle_ = false;
};

}  // namespace ghostip::source::kubernetes::testing

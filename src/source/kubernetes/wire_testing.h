// For tests: how an API server writes what it says, and that in JSON. The other way to write it needs an encoder that
// only tests have (test/kubernetes/protobuf_wire.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "api/encode.h"
#include "api/objects.h"

namespace ghostip::source::kubernetes::testing {

class Wire {
  public:
    enum class Form : std::uint8_t { kList, kWatch };
    enum class Is : std::uint8_t {
        kWell,
        kBroken,  // its name can be read, but the rest is not what its kind has
    };

    virtual ~Wire() = default;
    [[nodiscard]] virtual std::string media_type(Form form) const = 0;
    [[nodiscard]] virtual std::string object(const api::Object& object, int version, Is state) const = 0;
    // `object` as object() gives it.
    [[nodiscard]] virtual std::string event(std::string_view type, api::Kind kind, std::string_view object) const = 0;
    [[nodiscard]] virtual std::string bookmark(api::Kind kind, int version, bool all_there) const = 0;
    // A Status; as the body of an answer, and as the event that ends a watch.
    [[nodiscard]] virtual std::string status(int code, std::string_view reason, std::string_view message) const = 0;
    [[nodiscard]] virtual std::string error_event(int code, std::string_view reason) const = 0;
    // An empty token: the last page.
    [[nodiscard]] virtual std::string list(api::Kind kind, const std::vector<std::string>& objects, int version,
                                           std::string_view token) const = 0;
};

class JsonWire final : public Wire {
  public:
    [[nodiscard]] std::string media_type(Form /*form*/) const override { return "application/json"; }

    [[nodiscard]] std::string object(const api::Object& object, int version, Is state) const override {
        const auto key = api::key_of(object);
        if (state == Is::kBroken)
            return fmt::format(
                R"({{"apiVersion":"{}","kind":"{}","metadata":{{"namespace":"{}","name":"{}","resourceVersion":"{}"}},)"
                R"("spec":7,"endpoints":7}})",
                api_version(key.kind), api::kind_name(key.kind), key.namespace_, key.name, version);
        std::string text = api::to_json(object);
        const std::string_view metadata = R"("metadata":{)";
        text.insert(text.find(metadata) + metadata.size(), fmt::format(R"("resourceVersion":"{}",)", version));
        return text;
    }
    [[nodiscard]] std::string event(std::string_view type, api::Kind /*kind*/, std::string_view object) const override {
        return fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", type, object);
    }
    [[nodiscard]] std::string bookmark(api::Kind kind, int version, bool all_there) const override {
        return event("BOOKMARK", kind,
                     fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}"{}}}}})",
                                 api::kind_name(kind), api_version(kind), version,
                                 all_there ? R"(,"annotations":{"k8s.io/initial-events-end":"true"})" : ""));
    }
    [[nodiscard]] std::string status(int code, std::string_view reason, std::string_view message) const override {
        return fmt::format(R"({{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{}",)"
                           R"("reason":"{}","code":{}}})",
                           message, reason, code);
    }
    [[nodiscard]] std::string error_event(int code, std::string_view reason) const override {
        return event("ERROR", api::Kind::kService, status(code, reason, "because"));
    }
    [[nodiscard]] std::string list(api::Kind kind, const std::vector<std::string>& objects, int version,
                                   std::string_view token) const override {
        return fmt::format(
            R"({{"kind":"{}List","apiVersion":"{}","metadata":{{"resourceVersion":"{}"{}}},"items":[{}]}})",
            api::kind_name(kind), api_version(kind), version,
            token.empty() ? "" : fmt::format(R"(,"continue":"{}")", token), fmt::join(objects, ","));
    }

  private:
    static std::string_view api_version(api::Kind kind) {
        switch (kind) {
            case api::Kind::kEndpointSlice: return "discovery.k8s.io/v1";
            case api::Kind::kServiceCidr: return "networking.k8s.io/v1";
            default: return "v1";
        }
    }
};

}  // namespace ghostip::source::kubernetes::testing

// What must hold for whatever bytes are decoded: no crash, the same whatever pieces they come in, and every object that
// comes out is one that goes through JSON and back unchanged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "api/decode.h"
#include "api/encode.h"

namespace ghostip::fuzz {

class Sink : public api::DecodeSink {
  public:
    void object(api::Decoded decoded) override { objects.push_back(std::move(decoded.object)); }
    void problem(api::Problem problem) override {
        for (const auto& part : {problem.object, problem.field, problem.value, problem.message})
            if (part.find('\n') != std::string::npos) die("a problem of several lines", part);
        problems.push_back(problem.text());
    }
    [[noreturn]] static void die(std::string_view what, std::string_view text) {
        fmt::print(stderr, "{}: {}\n", what, text);
        std::abort();
    }

    std::vector<api::Object> objects;
    std::vector<std::string> problems;
};

inline Sink run(std::string_view text, api::Format format, std::size_t chunk) {
    Sink sink;
    api::MemoryReader reader(text, chunk);
    const auto result = api::decode(reader, format, "f", sink);
    if (!result && sink.problems.empty()) Sink::die("not parsed, and no problem", result.error().message);
    return sink;
}

inline void check(const std::uint8_t* data, std::size_t size, api::Format format) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const Sink whole = run(text, format, std::string_view::npos);
    // libyaml gives up at a bad byte as soon as it has read it, which depends on the pieces; JSON does not.
    if (format == api::Format::kJson && run(text, format, 3).problems != whole.problems)
        Sink::die("depends on the pieces", text);
    for (const auto& object : whole.objects) {
        const std::string json = api::to_json(object);
        const Sink back = run(json, api::Format::kJson, std::string_view::npos);
        if (back.objects.size() != 1 || !back.problems.empty()) Sink::die("is not read back", json);
        if (!api::same_content(back.objects[0], object)) Sink::die("is read back as another", json);
    }
}

}  // namespace ghostip::fuzz

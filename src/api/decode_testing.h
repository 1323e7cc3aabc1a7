// For tests: what a text decodes to.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "api/decode.h"

namespace ghostip::api::testing {

class Collected : public DecodeSink {
  public:
    void object(Decoded decoded) override { objects.push_back(std::move(decoded)); }
    void problem(Problem problem) override { problems.push_back(std::move(problem)); }

    // One line a problem; notices are marked.
    [[nodiscard]] std::vector<std::string> lines() const {
        std::vector<std::string> lines;
        for (const auto& problem : problems)
            lines.push_back((problem.severity == Severity::kNotice ? "notice " : "") + problem.text());
        return lines;
    }
    [[nodiscard]] std::vector<std::string> keys() const {
        std::vector<std::string> keys;
        for (const auto& decoded : objects) keys.push_back(key_of(decoded.object).text());
        return keys;
    }
    // The only object, which must be of this kind.
    template <typename T>
    [[nodiscard]] T only() const {
        EXPECT_EQ(objects.size(), 1U) << ::testing::PrintToString(lines());
        const auto* object = objects.empty() ? nullptr : std::get_if<std::shared_ptr<const T>>(&objects.front().object);
        EXPECT_NE(object, nullptr);
        return object == nullptr ? T{} : **object;
    }

    std::vector<Decoded> objects;
    std::vector<Problem> problems;
    bool parsed = false;
};

inline Collected decode_text(std::string_view text, Format format, std::size_t chunk = std::string_view::npos) {
    Collected collected;
    MemoryReader reader(text, chunk);
    collected.parsed = decode(reader, format, "f", collected).has_value();
    return collected;
}

}  // namespace ghostip::api::testing

// What a decoder has to say about a file: one place, one value, one sentence.
//
// An error makes its object bad (or the whole file, where the text does not parse). A notice names an entry that
// kube-proxy skips with a log line; the object is still good.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ghostip::api {

enum class Severity : std::uint8_t { kError, kNotice };

struct Problem {
    std::string file;
    int line = 0;         // from 1; 0 = none
    std::string object;   // `Service default/web`; empty where no object could be told
    std::string field;    // `spec.ports[0].port`; empty for the object as a whole
    std::string value;    // as it stands in the file, strings in quotes; empty where there is none
    std::string message;  // `must be a number from 1 to 65535`
    Severity severity = Severity::kError;

    // One line, whatever the file holds: `web.yaml:17: Service default/web: spec.ports[0].port: "http": must be …`.
    [[nodiscard]] std::string text() const;

    friend bool operator==(const Problem&, const Problem&) = default;
};

// Printable on one line: control characters, quotes and what is no UTF-8 escaped, long text cut.
[[nodiscard]] std::string printable(std::string_view text);

}  // namespace ghostip::api

// libyaml's parser as a stream of events, with errors as values. Single-threaded.
#pragma once

#include <yaml.h>

#include <optional>
#include <string>
#include <string_view>

#include "api/byte_reader.h"
#include "base/result.h"

namespace ghostip::api::codec {

struct YamlFlaw {
    int line = 0;
    std::string message;
};

class YamlEvents {
  public:
    explicit YamlEvents(ByteReader& reader);
    ~YamlEvents();
    YamlEvents(const YamlEvents&) = delete;
    YamlEvents& operator=(const YamlEvents&) = delete;

    // The next event becomes the current one. False: the text does not parse or could not be read, see flaw().
    [[nodiscard]] bool next();
    [[nodiscard]] const YamlFlaw& flaw() const { return flaw_; }

    [[nodiscard]] yaml_event_type_t type() const { return event_.type; }
    [[nodiscard]] int line() const { return static_cast<int>(event_.start_mark.line) + 1; }
    // Of a scalar.
    [[nodiscard]] std::string_view text() const;
    [[nodiscard]] bool is_plain() const { return event_.data.scalar.style == YAML_PLAIN_SCALAR_STYLE; }
    [[nodiscard]] std::string_view tag() const;

  private:
    static int read(void* self, unsigned char* buffer, std::size_t size, std::size_t* size_read);

    [[nodiscard]] int line_of_reader_error() const;

    ByteReader& reader_;
    Result<void> read_error_;
    // What was read last, and what lies before it: libyaml gives bad bytes an offset but no line.
    std::string chunk_;
    std::size_t bytes_before_ = 0;
    int lines_before_ = 0;
    yaml_parser_t parser_{};
    yaml_event_t event_{};
    YamlFlaw flaw_;
};

}  // namespace ghostip::api::codec

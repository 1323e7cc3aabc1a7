#include "api/codec/yaml_events.h"

#include <algorithm>
#include <new>
#include <span>

#include <fmt/format.h>

namespace ghostip::api::codec {

YamlEvents::YamlEvents(ByteReader& reader) : reader_(reader) {
    if (yaml_parser_initialize(&parser_) == 0) throw std::bad_alloc();
    yaml_parser_set_input(&parser_, &YamlEvents::read, this);
}

YamlEvents::~YamlEvents() {
    yaml_event_delete(&event_);
    yaml_parser_delete(&parser_);
}

int YamlEvents::read(void* self, unsigned char* buffer, std::size_t size, std::size_t* size_read) {
    auto* events = static_cast<YamlEvents*>(self);
    const auto got = events->reader_.read(std::span(reinterpret_cast<char*>(buffer), size));
    if (!got) events->read_error_ = got.error();
    events->bytes_before_ += events->chunk_.size();
    events->lines_before_ += static_cast<int>(std::count(events->chunk_.begin(), events->chunk_.end(), '\n'));
    events->chunk_.assign(reinterpret_cast<const char*>(buffer), got ? *got : 0);
    *size_read = got ? *got : 0;
    return got ? 1 : 0;
}

bool YamlEvents::next() {
    yaml_event_delete(&event_);
    if (yaml_parser_parse(&parser_, &event_) != 0) return true;
    if (!read_error_) {
        flaw_ = {0, "cannot be read: " + read_error_.error().message};
        return false;
    }
    const char* problem = parser_.problem != nullptr ? parser_.problem : "not enough memory";
    flaw_ = {
        parser_.error == YAML_READER_ERROR ? line_of_reader_error() : static_cast<int>(parser_.problem_mark.line) + 1,
        parser_.context != nullptr ? fmt::format("is not valid YAML: {} ({})", problem, parser_.context)
                                   : fmt::format("is not valid YAML: {}", problem)};
    return false;
}

int YamlEvents::line_of_reader_error() const {
    const std::size_t inside = parser_.problem_offset - std::min(parser_.problem_offset, bytes_before_);
    const auto end = chunk_.begin() + static_cast<std::ptrdiff_t>(std::min(inside, chunk_.size()));
    return lines_before_ + 1 + static_cast<int>(std::count(chunk_.begin(), end, '\n'));
}

std::string_view YamlEvents::text() const {
    return {reinterpret_cast<const char*>(event_.data.scalar.value), event_.data.scalar.length};
}

std::string_view YamlEvents::tag() const {
    const auto* tag = event_.data.scalar.tag;
    return tag == nullptr ? std::string_view() : std::string_view(reinterpret_cast<const char*>(tag));
}

}  // namespace ghostip::api::codec

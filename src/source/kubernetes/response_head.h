// Headers of a response, line by line.
#pragma once

#include <string_view>

#include "source/kubernetes/transport.h"

namespace ghostip::source::kubernetes {

// `Name: value`; keeps what ResponseHead has a field for. Retry-After counts in seconds only, as client-go reads it.
void read_header_line(std::string_view line, ResponseHead& head);

}  // namespace ghostip::source::kubernetes

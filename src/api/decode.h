// Reads Kubernetes objects, written as YAML or JSON, into the structs of objects.h.
//
// The text is streamed: whatever its size, one object is held at a time (an item of a List is an object), of at most
// 16 MiB. Both formats are read into the same small tree and decoded by the same rules, which are those of the API
// server as far as ghostip relies on them. Fields that ghostip does not read are ignored.
#pragma once

#include <cstdint>
#include <string_view>

#include "api/byte_reader.h"
#include "api/objects.h"
#include "api/problem.h"
#include "base/result.h"

namespace ghostip::api {

enum class Format : std::uint8_t {
    kYaml,  // any number of documents; plain scalars as in YAML 1.1, as kubectl reads them; aliases are refused
    kJson,  // any number of objects, one after the other
};

struct Decoded {
    Object object;
    int line = 0;  // where it starts
};

class DecodeSink {
  public:
    virtual ~DecodeSink() = default;
    virtual void object(Decoded decoded) = 0;
    virtual void problem(Problem problem) = 0;
};

// Hands each good object and each problem to the sink, in the order of the text. An object with an error is not handed
// over, and reading goes on behind it. Returns an error when the text could not be read to its end or does not parse:
// the sink was given that as a problem too, and knows nothing of what follows the place.
[[nodiscard]] Result<void> decode(ByteReader& reader, Format format, std::string_view file_name, DecodeSink& sink);

}  // namespace ghostip::api

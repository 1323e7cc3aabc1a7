#include "api/decode.h"

#include "api/codec/document.h"
#include "api/codec/json_reader.h"
#include "api/codec/yaml_reader.h"

namespace ghostip::api {

Result<void> decode(ByteReader& reader, Format format, std::string_view file_name, DecodeSink& sink) {
    codec::DocumentDecoder document(file_name, sink);
    return format == Format::kYaml ? codec::read_yaml(reader, document) : codec::read_json(reader, document);
}

}  // namespace ghostip::api

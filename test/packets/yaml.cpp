#include "packets/yaml.h"

#include <yaml.h>

namespace ghostip::packets {
namespace {

std::string scalar_text(const yaml_node_t& node) {
    return {reinterpret_cast<const char*>(node.data.scalar.value), node.data.scalar.length};
}

Yaml build(yaml_document_t& document, int index) {
    const yaml_node_t& node = *yaml_document_get_node(&document, index);
    Yaml result;
    result.line = node.start_mark.line + 1;
    if (node.type == YAML_SCALAR_NODE) {
        result.text = scalar_text(node);
    } else if (node.type == YAML_SEQUENCE_NODE) {
        result.kind = Yaml::Kind::kList;
        for (const auto* item = node.data.sequence.items.start; item < node.data.sequence.items.top; ++item)
            result.items.push_back(build(document, *item));
    } else if (node.type == YAML_MAPPING_NODE) {
        result.kind = Yaml::Kind::kMap;
        for (const auto* pair = node.data.mapping.pairs.start; pair < node.data.mapping.pairs.top; ++pair)
            result.fields.push_back({build(document, pair->key).text, build(document, pair->value)});
    }
    return result;
}

}  // namespace

const Yaml* Yaml::find(std::string_view name) const {
    for (const auto& [key, value] : fields)
        if (key == name) return &value;
    return nullptr;
}

std::string Yaml::get(std::string_view name) const {
    const auto* value = find(name);
    return value == nullptr ? "" : value->text;
}

std::vector<Yaml> Yaml::as_list() const { return kind == Kind::kList ? items : std::vector<Yaml>{*this}; }

Result<std::vector<Yaml>> parse_yaml(std::string_view text) {
    std::vector<Yaml> documents;
    yaml_parser_t parser;
    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, reinterpret_cast<const unsigned char*>(text.data()), text.size());
    while (true) {
        yaml_document_t document;
        if (yaml_parser_load(&parser, &document) == 0) {
            Error error =
                fail("line {}: {}", parser.problem_mark.line + 1, parser.problem == nullptr ? "?" : parser.problem);
            yaml_parser_delete(&parser);
            return error;
        }
        const bool end = yaml_document_get_root_node(&document) == nullptr;
        if (!end) documents.push_back(build(document, 1));
        yaml_document_delete(&document);
        if (end) break;
    }
    yaml_parser_delete(&parser);
    return documents;
}

}  // namespace ghostip::packets

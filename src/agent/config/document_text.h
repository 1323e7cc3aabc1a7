// A document that is to be written: mappings, lists and scalars, as YAML in the manner of Kubernetes' tools or as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ghostip::agent::config {

class DocumentValue {
  public:
    [[nodiscard]] static DocumentValue null() { return plain("null"); }
    // A number, true, false: written as it is.
    [[nodiscard]] static DocumentValue plain(std::string text) { return {Kind::kPlain, std::move(text)}; }
    [[nodiscard]] static DocumentValue text(std::string text) { return {Kind::kText, std::move(text)}; }
    [[nodiscard]] static DocumentValue list() { return {Kind::kList, {}}; }
    [[nodiscard]] static DocumentValue mapping() { return {Kind::kMapping, {}}; }

    void add(DocumentValue value);                        // to a list
    void add(std::string_view key, DocumentValue value);  // to a mapping
    void add_all(DocumentValue mapping);                  // the members of a mapping to a mapping

    // Keys sorted, lists not indented; ends with a newline. Of a mapping.
    [[nodiscard]] std::string yaml() const;
    // Keys in the order in which they were added; one line without an end.
    [[nodiscard]] std::string json() const;
    // The path of each scalar and of each list, with its JSON.
    [[nodiscard]] std::vector<std::pair<std::string, std::string>> leaves() const;

  private:
    enum class Kind : std::uint8_t { kPlain, kText, kList, kMapping };
    DocumentValue(Kind kind, std::string scalar) : kind_(kind), scalar_(std::move(scalar)) {}

    void write_yaml(std::string& out, std::size_t indent) const;
    void write_json(std::string& out) const;
    void add_leaves(const std::string& path, std::vector<std::pair<std::string, std::string>>& leaves) const;
    [[nodiscard]] bool is_block() const;

    Kind kind_;
    std::string scalar_;
    std::vector<std::string> keys_;  // of a mapping, as many as children
    std::vector<DocumentValue> children_;
};

// A text as a YAML scalar: plain where it would be read back as that text, else in quotes.
[[nodiscard]] std::string yaml_scalar(std::string_view text);
[[nodiscard]] std::string json_string(std::string_view text);

}  // namespace ghostip::agent::config

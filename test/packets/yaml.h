// YAML as a tree, small and without opinions, for test cases. Not the product's reader: tests must not share its bugs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ghostip::packets {

struct Yaml {
    struct Field;
    enum class Kind { kScalar, kList, kMap };
    Kind kind = Kind::kScalar;
    std::string text;           // scalar
    std::vector<Yaml> items;    // list
    std::vector<Field> fields;  // map, in order
    std::size_t line = 0;       // counted from 1

    // Null if there is none.
    [[nodiscard]] const Yaml* find(std::string_view name) const;
    // The scalar of that name, or "".
    [[nodiscard]] std::string get(std::string_view name) const;
    // A list as it is; anything else as a list of one.
    [[nodiscard]] std::vector<Yaml> as_list() const;
};

struct Yaml::Field {
    std::string name;
    Yaml value;
};

// All documents of a text; empty ones are left out.
[[nodiscard]] Result<std::vector<Yaml>> parse_yaml(std::string_view text);

}  // namespace ghostip::packets

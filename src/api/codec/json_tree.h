// The text of one JSON value into a tree, by simdjson. Keeps its memory from value to value. Single-threaded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "api/codec/tree.h"

namespace ghostip::api::codec {

enum class JsonOutcome : std::uint8_t {
    kRead,
    kNotJson,  // the tree is empty
    kRefused,  // JSON, but not what we take for an object; the tree has what stood before the flaw
};

struct JsonReading {
    JsonOutcome outcome = JsonOutcome::kRead;
    std::string flaw = {};  // what is wrong, unless it was read
    int line = 0;           // where that is
};

class JsonTree {
  public:
    JsonTree();
    ~JsonTree();
    JsonTree(const JsonTree&) = delete;
    JsonTree& operator=(const JsonTree&) = delete;

    // Clears the tree and fills it. `text` is followed by SIMDJSON_PADDING readable bytes, and lives as long as the
    // tree's content, if that is to know its lines. `line` is that of the text's first byte; 0: nobody counts lines.
    [[nodiscard]] JsonReading read(std::string_view text, int line, Tree& tree);

  private:
    struct Parser;
    const std::unique_ptr<Parser> parser_;
};

}  // namespace ghostip::api::codec

// What both readers hand their trees to: knows objects and lists of objects, and nothing of YAML or JSON.
//
// An object is one call of object(). A list is list_part() for its members before `items`, item() for each item, then
// list_part() for the members behind, then end_list(); so a list is never held as a whole. Single-threaded.
#pragma once

#include <string>
#include <string_view>

#include "api/codec/tree.h"
#include "api/decode.h"
#include "base/result.h"

namespace ghostip::api::codec {

// What a typed list (ServiceList) says once for all of its items; empty where each says it itself (List).
struct ItemType {
    std::string api_version;
    std::string kind;
    bool is_item = false;  // false: it is no item of a list at all
};

class DocumentDecoder {
  public:
    DocumentDecoder(std::string_view file, DecodeSink& sink) : file_(file), sink_(sink) {}

    // Whether a mapping of this kind may be a list. An empty kind: not known yet (kubectl writes `items` before
    // `kind`).
    [[nodiscard]] static bool may_be_list(std::string_view kind) { return kind.empty() || kind.ends_with("List"); }

    void object(const Tree& tree);
    void list_part(const Tree& tree);
    void item(const Tree& tree);
    void end_list();
    // The text does not parse, or could not be read. Reported; the error is for the reader to return.
    [[nodiscard]] Error broken(int line, std::string message);

  private:
    const std::string file_;
    DecodeSink& sink_;

    // Of the list that is being read.
    std::string list_version_;
    std::string list_kind_;
    bool list_bad_ = false;  // reported; its items are passed over
    int list_line_ = 0;
    ItemType items_;
};

}  // namespace ghostip::api::codec

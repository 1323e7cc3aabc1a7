// What both readers hand their trees to, and the one for Kubernetes objects: knows objects and lists of objects, and
// nothing of YAML or JSON. Single-threaded.
#pragma once

#include <cstdint>
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

enum class DuplicateKeys : std::uint8_t {
    kRefuse,  // the text counts as broken
    kKeep,    // all are in the tree, in their order
};

// An object is one call of object(). A list is list_part() for its members before `items`, item() for each item, then
// list_part() for the members behind, then end_list(); so a list is never held as a whole. Trees are the reader's, and
// change when it goes on.
class Documents {
  public:
    virtual ~Documents() = default;
    // Whether a mapping of this kind may be a list. An empty kind: not known yet (kubectl writes `items` before
    // `kind`).
    [[nodiscard]] static bool may_be_list(std::string_view kind) { return kind.empty() || kind.ends_with("List"); }

    virtual void object(const Tree& tree) = 0;
    virtual void list_part(const Tree& tree) = 0;
    virtual void item(const Tree& tree) = 0;
    virtual void end_list() = 0;
    // The text does not parse, or could not be read. Reported; the error is for the reader to return.
    [[nodiscard]] virtual Error broken(int line, std::string message) = 0;
    [[nodiscard]] virtual DuplicateKeys duplicate_keys() const { return DuplicateKeys::kRefuse; }
};

class DocumentDecoder : public Documents {
  public:
    DocumentDecoder(std::string_view file, DecodeSink& sink) : file_(file), sink_(sink) {}

    void object(const Tree& tree) override;
    void list_part(const Tree& tree) override;
    void item(const Tree& tree) override;
    void end_list() override;
    [[nodiscard]] Error broken(int line, std::string message) override;

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

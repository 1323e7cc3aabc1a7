#include "api/codec/yaml_reader.h"

#include <fmt/format.h>

#include "api/codec/yaml_events.h"
#include "api/codec/yaml_scalar.h"
#include "api/problem.h"

namespace ghostip::api::codec {
namespace {

constexpr std::string_view kStringTag = "tag:yaml.org,2002:str";

class YamlReader {
  public:
    YamlReader(ByteReader& reader, Documents& document) : events_(reader), document_(document) {}

    Result<void> run();

  private:
    // The event after the last is read, and must be there.
    Result<void> advance();
    // The current event begins a value; afterwards it is the one that ends it.
    Result<void> root();
    Result<void> items();
    Result<void> value(NodeId parent, std::string_view key, int depth);
    Result<std::string_view> key();
    Result<void> check_duplicates(NodeId mapping);
    TreeNode scalar();

    YamlEvents events_;
    Documents& document_;
    Tree tree_;
};

Result<void> YamlReader::advance() {
    if (!events_.next()) return document_.broken(events_.flaw().line, events_.flaw().message);
    return {};
}

Result<void> YamlReader::run() {
    while (true) {
        RETURN_IF_ERROR(advance());
        switch (events_.type()) {
            case YAML_STREAM_END_EVENT: return {};
            case YAML_STREAM_START_EVENT:
            case YAML_DOCUMENT_START_EVENT:
            case YAML_DOCUMENT_END_EVENT: break;
            default: RETURN_IF_ERROR(root());
        }
    }
}

// The value of a document. A mapping is read member by member, so that the items of a list can be handed over singly.
Result<void> YamlReader::root() {
    tree_.clear();
    if (events_.type() != YAML_MAPPING_START_EVENT) {
        RETURN_IF_ERROR(value(kNoNode, {}, 0));
        // Nothing between two `---`, or only comments.
        if (tree_.root().kind != NodeKind::kNull) document_.object(tree_);
        return {};
    }
    const TreeNode top{.kind = NodeKind::kMapping, .line = events_.line()};
    tree_.add(kNoNode, {}, top);
    bool is_list = false;
    while (true) {
        RETURN_IF_ERROR(advance());
        if (events_.type() == YAML_MAPPING_END_EVENT) break;
        ASSIGN_OR_RETURN(const std::string_view name, key());
        RETURN_IF_ERROR(advance());
        const TreeNode* kind = tree_.find(tree_.root(), "kind");
        if (name == "items" && !is_list && events_.type() == YAML_SEQUENCE_START_EVENT &&
            Documents::may_be_list(kind != nullptr ? kind->text : std::string_view())) {
            is_list = true;
            RETURN_IF_ERROR(check_duplicates(0));
            document_.list_part(tree_);
            RETURN_IF_ERROR(items());
            tree_.clear();
            tree_.add(kNoNode, {}, top);
        } else {
            RETURN_IF_ERROR(value(0, name, 1));
        }
    }
    RETURN_IF_ERROR(check_duplicates(0));
    if (!is_list) {
        document_.object(tree_);
        return {};
    }
    document_.list_part(tree_);
    document_.end_list();
    return {};
}

Result<void> YamlReader::items() {
    while (true) {
        RETURN_IF_ERROR(advance());
        if (events_.type() == YAML_SEQUENCE_END_EVENT) return {};
        tree_.clear();
        RETURN_IF_ERROR(value(kNoNode, {}, 0));
        document_.item(tree_);
    }
}

Result<void> YamlReader::value(NodeId parent, std::string_view key_text, int depth) {
    if (depth > kMaxDepth)
        return document_.broken(events_.line(), fmt::format("an object is nested more than {} deep", kMaxDepth));
    if (tree_.full())
        return document_.broken(events_.line(), fmt::format("an object has more than {} MiB or {} values",
                                                            kMaxObjectBytes >> 20U, kMaxNodes));
    switch (events_.type()) {
        case YAML_SCALAR_EVENT: tree_.add(parent, key_text, scalar()); return {};
        case YAML_ALIAS_EVENT:
            return document_.broken(events_.line(),
                                    "has an alias (*name), which is not supported; write the value out");
        case YAML_SEQUENCE_START_EVENT: {
            const NodeId id = tree_.add(parent, key_text, {.kind = NodeKind::kSequence, .line = events_.line()});
            while (true) {
                RETURN_IF_ERROR(advance());
                if (events_.type() == YAML_SEQUENCE_END_EVENT) return {};
                RETURN_IF_ERROR(value(id, {}, depth + 1));
            }
        }
        case YAML_MAPPING_START_EVENT: {
            const NodeId id = tree_.add(parent, key_text, {.kind = NodeKind::kMapping, .line = events_.line()});
            while (true) {
                RETURN_IF_ERROR(advance());
                if (events_.type() == YAML_MAPPING_END_EVENT) return check_duplicates(id);
                ASSIGN_OR_RETURN(const std::string_view name, key());
                RETURN_IF_ERROR(advance());
                RETURN_IF_ERROR(value(id, name, depth + 1));
            }
        }
        default: return document_.broken(events_.line(), "is not valid YAML: a value is expected here");
    }
}

Result<std::string_view> YamlReader::key() {
    if (events_.type() == YAML_ALIAS_EVENT)
        return document_.broken(events_.line(), "has an alias (*name), which is not supported; write the value out");
    if (events_.type() != YAML_SCALAR_EVENT) return document_.broken(events_.line(), "has a key that is no text");
    return tree_.keep(events_.text());
}

Result<void> YamlReader::check_duplicates(NodeId mapping) {
    if (document_.duplicate_keys() == DuplicateKeys::kKeep) return {};
    const TreeNode* twice = tree_.find_duplicate(mapping);
    if (twice == nullptr) return {};
    return document_.broken(twice->line,
                            fmt::format("the key \"{}\" is there twice in one mapping", printable(twice->key)));
}

TreeNode YamlReader::scalar() {
    TreeNode node{.kind = NodeKind::kString, .line = events_.line()};
    const std::string_view tag = events_.tag();
    if (!events_.is_plain() || tag == kStringTag) {
        node.text = tree_.keep(events_.text());
        return node;
    }
    const YamlScalar plain = read_plain_scalar(events_.text());
    node.kind = plain.kind;
    node.text = tree_.keep(plain.text);
    return node;
}

}  // namespace

Result<void> read_yaml(ByteReader& reader, Documents& document) { return YamlReader(reader, document).run(); }

}  // namespace ghostip::api::codec

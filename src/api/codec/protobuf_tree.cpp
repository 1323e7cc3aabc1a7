#include "api/codec/protobuf_tree.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <protozero/pbf_reader.hpp>

#include <fmt/format.h>

#include "api/problem.h"

namespace ghostip::api::codec {
namespace {

using protozero::pbf_reader;
using protozero::pbf_wire_type;

std::string_view bytes_of(pbf_reader& reader) {
    const auto view = reader.get_view();
    return {view.data(), view.size()};
}

pbf_wire_type wire_type_of(ProtobufType type) {
    return type == ProtobufType::kInt32 || type == ProtobufType::kBool ? pbf_wire_type::varint
                                                                       : pbf_wire_type::length_delimited;
}

class ProtobufReader {
  public:
    explicit ProtobufReader(Tree& tree) : tree_(tree) {}

    std::optional<ProtobufFlaw> run(std::string_view bytes, const ProtobufMessage& message, NodeId into) {
        // What protozero throws, it throws at bytes that are no protobuf.
        try {
            fields(bytes, message, into);
        } catch (const protozero::exception& error) {
            refuse(fmt::format("is not valid protobuf: {}", error.what()));
        }
        return std::move(flaw_);
    }

  private:
    struct Place {
        std::string_view name;
        int index = -1;
    };

    // Each returns false once there is a flaw, and leaves path_ where it was found.
    bool fields(std::string_view bytes, const ProtobufMessage& message, NodeId into);
    bool field(pbf_reader& reader, const ProtobufField& field, NodeId into, NodeId& node);
    bool single(pbf_reader& reader, const ProtobufField& field, NodeId into, std::string_view key, NodeId& node);
    bool map_entry(std::string_view bytes, NodeId into);
    bool text(std::string_view bytes, std::string_view& into);
    bool time(std::string_view bytes, const ProtobufField& field, NodeId into, NodeId& node);
    bool refuse(std::string message);

    Tree& tree_;
    std::array<Place, 16> path_;  // the schema is less deep than that
    std::size_t depth_ = 0;
    std::optional<ProtobufFlaw> flaw_;
};

bool ProtobufReader::fields(std::string_view bytes, const ProtobufMessage& message, NodeId into) {
    std::array<NodeId, kMostFields> nodes{};
    nodes.fill(kNoNode);
    std::array<int, kMostFields> counts{};
    pbf_reader reader(bytes.data(), bytes.size());
    std::size_t next = 0;  // the row behind that of the last field: they mostly come in order
    while (reader.next()) {
        const auto rows = message.fields;
        std::size_t row = next < rows.size() && rows[next].number == reader.tag() ? next : 0;
        while (row < rows.size() && rows[row].number != reader.tag()) ++row;
        if (row == rows.size()) {
            reader.skip();
            continue;
        }
        const ProtobufField& found = rows[row];
        const bool repeated = found.presence == Presence::kRepeated || found.type == ProtobufType::kStringMap;
        next = repeated ? row : row + 1;
        path_[depth_++] = {found.name, found.presence == Presence::kRepeated ? counts[row] : -1};
        if (tree_.full()) return refuse(fmt::format("an object has more than {} values", kMaxNodes));
        if (counts[row]++ > 0 && !repeated) return refuse("is there twice");
        if (reader.wire_type() != wire_type_of(found.type)) return refuse("is not of the type that it should have");
        if (!field(reader, found, into, nodes[row])) return false;
        --depth_;
    }
    return std::all_of(message.fields.begin(), message.fields.end(), [&](const ProtobufField& row) {
        const NodeId node = nodes[static_cast<std::size_t>(&row - message.fields.data())];
        if (row.type != ProtobufType::kStringMap || node == kNoNode) return true;
        const TreeNode* twice = tree_.find_duplicate(node);
        if (twice == nullptr) return true;
        path_[depth_++] = {row.name};
        return refuse(fmt::format("the key \"{}\" is there twice in one mapping", printable(twice->key)));
    });
}

// `node` is what earlier fields of that number were put into.
bool ProtobufReader::field(pbf_reader& reader, const ProtobufField& field, NodeId into, NodeId& node) {
    if (field.type == ProtobufType::kStringMap) {
        if (node == kNoNode) node = tree_.add(into, field.name, {.kind = NodeKind::kMapping});
        return map_entry(bytes_of(reader), node);
    }
    if (field.presence != Presence::kRepeated) return single(reader, field, into, field.name, node);
    if (node == kNoNode) node = tree_.add(into, field.name, {.kind = NodeKind::kSequence});
    NodeId element = kNoNode;
    return single(reader, field, node, {}, element);
}

bool ProtobufReader::single(pbf_reader& reader, const ProtobufField& field, NodeId into, std::string_view key,
                            NodeId& node) {
    TreeNode value;
    bool zero = false;
    switch (field.type) {
        case ProtobufType::kString:
            value.kind = NodeKind::kString;
            if (!text(bytes_of(reader), value.text)) return false;
            zero = value.text.empty();
            break;
        case ProtobufType::kInt32: {
            // Negative numbers are written with the bits of 64, of which Go too takes the lower half.
            const auto number = static_cast<std::int32_t>(reader.get_uint64());
            const fmt::format_int digits(number);
            value.kind = NodeKind::kNumber;
            value.text = tree_.keep({digits.data(), digits.size()});
            zero = number == 0;
            break;
        }
        case ProtobufType::kBool:
            // Not get_bool(), which looks at one byte only, be it there or not.
            zero = reader.get_uint64() == 0;
            value.kind = NodeKind::kBool;
            value.text = zero ? "false" : "true";
            break;
        case ProtobufType::kTime: return time(bytes_of(reader), field, into, node);
        case ProtobufType::kMessage:
            node = tree_.add(into, key, {.kind = NodeKind::kMapping});
            return fields(bytes_of(reader), *field.message, node);
        case ProtobufType::kStringMap: return true;  // field() has taken it
    }
    if (field.presence != Presence::kPlain || !zero) node = tree_.add(into, key, value);
    return true;
}

bool ProtobufReader::map_entry(std::string_view bytes, NodeId into) {
    std::string_view key;
    std::string_view value;
    pbf_reader reader(bytes.data(), bytes.size());
    while (reader.next()) {
        if (reader.tag() > 2) {
            reader.skip();
            continue;
        }
        std::string_view& part = reader.tag() == 1 ? key : value;
        if (reader.wire_type() != pbf_wire_type::length_delimited)
            return refuse("is not of the type that it should have");
        if (!text(bytes_of(reader), part)) return false;
    }
    tree_.add(into, key, {.kind = NodeKind::kString, .text = value});
    return true;
}

bool ProtobufReader::text(std::string_view bytes, std::string_view& into) {
    if (!simdjson::validate_utf8(bytes.data(), bytes.size())) return refuse("is not valid UTF-8");
    into = bytes;
    return true;
}

bool ProtobufReader::time(std::string_view bytes, const ProtobufField& field, NodeId into, NodeId& node) {
    pbf_reader reader(bytes.data(), bytes.size());
    while (reader.next()) reader.skip();
    // The seconds are not looked at: nobody reads more of a time than that there is one.
    if (!bytes.empty()) node = tree_.add(into, field.name, {.kind = NodeKind::kString, .text = "some time"});
    return true;
}

bool ProtobufReader::refuse(std::string message) {
    std::string path;
    for (std::size_t i = 0; i < depth_; ++i) {
        if (i > 0) path += '.';
        path += path_[i].name;
        if (path_[i].index >= 0) path += fmt::format("[{}]", path_[i].index);
    }
    flaw_ = ProtobufFlaw{std::move(path), std::move(message)};
    return false;
}

}  // namespace

std::optional<ProtobufFlaw> read_protobuf(std::string_view bytes, const ProtobufMessage& message, Tree& tree,
                                          NodeId into) {
    return ProtobufReader(tree).run(bytes, message, into);
}

std::optional<ProtobufFlaw> read_protobuf(std::string_view bytes, const ProtobufMessage& message, Tree& tree) {
    tree.clear();
    return read_protobuf(bytes, message, tree, tree.add(kNoNode, {}, {.kind = NodeKind::kMapping}));
}

}  // namespace ghostip::api::codec

// The extents of objects come from a scan by brackets and quotes; each is then parsed, and so checked, by simdjson. The
// shell of a list (its members but for the items) is parsed apart: cut out, closed with a bracket, and read as an
// object.
#include "api/codec/json_reader.h"

#include <simdjson.h>

#include <algorithm>

#include <fmt/format.h>

#include "api/codec/json_walk.h"
#include "api/codec/json_window.h"
#include "api/problem.h"

namespace ghostip::api::codec {
namespace {

class JsonReader {
  public:
    JsonReader(ByteReader& reader, Documents& document) : window_(reader), document_(document) {}

    Result<void> run();

  private:
    // Where the members that begin at a position end: at the closing bracket, or before the elements of `items`.
    struct Members {
        std::size_t end = 0;  // behind the closing bracket, if no items were met
        std::size_t items_key = JsonWindow::npos;
        std::size_t items_open = 0;  // behind the [
    };

    Result<void> top_level();
    Result<Members> members(std::size_t at, bool stop_at_items);
    Result<void> list(const Members& head);
    Result<void> items();
    Result<void> parse(std::string_view text, int line);
    bool build(simdjson::dom::element element, NodeId parent, std::string_view key, int depth);
    Error unexpected(std::size_t at, std::string_view wanted);

    JsonWindow window_;
    Documents& document_;
    simdjson::dom::parser parser_;
    Tree tree_;
    std::string flaw_;  // why build() gave up, and where
    int flaw_line_ = 0;
};

Result<void> JsonReader::run() {
    if (window_.has(2) && window_.front(3) == "\xef\xbb\xbf") window_.drop(3);
    bool empty = true;
    while (true) {
        window_.drop(window_.skip_space(0));
        if (!window_.has(0)) break;
        empty = false;
        RETURN_IF_ERROR(top_level());
    }
    if (!window_.error()) return document_.broken(0, "cannot be read: " + window_.error().error().message);
    if (empty) return document_.broken(0, "is empty");
    return {};
}

Result<void> JsonReader::top_level() {
    if (window_.at(0) != '{') return unexpected(0, "an object");
    ASSIGN_OR_RETURN(const Members found, members(1, true));
    if (found.items_key != JsonWindow::npos) return list(found);
    RETURN_IF_ERROR(parse(window_.front(found.end), window_.line_at(0)));
    document_.object(tree_);
    window_.drop(found.end);
    return {};
}

Result<JsonReader::Members> JsonReader::members(std::size_t at, bool stop_at_items) {
    std::string kind;
    at = window_.skip_space(at);
    if (window_.has(at) && window_.at(at) == '}') return Members{.end = at + 1};
    while (true) {
        at = window_.skip_space(at);
        if (!window_.has(at) || window_.at(at) != '"') return unexpected(at, "a key in quotes");
        const std::size_t key_at = at;
        const std::size_t key_end = window_.value_end(at);
        at = key_end == JsonWindow::npos ? key_end : window_.skip_space(key_end);
        if (at == JsonWindow::npos || !window_.has(at) || window_.at(at) != ':') return unexpected(at, "a :");
        at = window_.skip_space(at + 1);
        const std::string_view key = window_.front(key_end).substr(key_at);
        if (stop_at_items && key == "\"items\"" && window_.has(at) && window_.at(at) == '[' &&
            Documents::may_be_list(kind))
            return Members{.end = 0, .items_key = key_at, .items_open = at + 1};
        const std::size_t end = window_.value_end(at);
        if (end == JsonWindow::npos || end == at) return unexpected(end, "a value");
        // Read again: the window may have moved.
        if (window_.front(key_end).substr(key_at) == "\"kind\"" && window_.at(at) == '"')
            kind = window_.front(end - 1).substr(at + 1);
        at = window_.skip_space(end);
        if (window_.has(at) && window_.at(at) == '}') return Members{.end = at + 1};
        if (!window_.has(at) || window_.at(at) != ',') return unexpected(at, "a , or }");
        ++at;
    }
}

Result<void> JsonReader::list(const Members& head) {
    std::string shell(window_.front(head.items_key));
    shell.resize(shell.find_last_not_of(" \t\r\n") + 1);
    if (shell.back() == ',') shell.pop_back();
    shell += '}';
    const std::size_t length = shell.size();
    shell.resize(length + simdjson::SIMDJSON_PADDING);
    RETURN_IF_ERROR(parse(std::string_view(shell).substr(0, length), window_.line_at(0)));
    document_.list_part(tree_);
    window_.drop(head.items_open);

    RETURN_IF_ERROR(items());
    const int line = window_.line_at(0);
    std::size_t at = window_.skip_space(0);
    if (!window_.has(at) || (window_.at(at) != ',' && window_.at(at) != '}')) return unexpected(at, "a , or }");
    const bool more = window_.at(at) == ',';
    window_.drop(at + 1);
    if (more) {
        at = window_.skip_space(0);
        if (!window_.has(at) || window_.at(at) != '"') return unexpected(at, "a key in quotes");
        ASSIGN_OR_RETURN(const Members tail, members(0, false));
        shell = "{";
        shell += window_.front(tail.end);
        shell.resize(tail.end + 1 + simdjson::SIMDJSON_PADDING);
        RETURN_IF_ERROR(parse(std::string_view(shell).substr(0, tail.end + 1), line));
        document_.list_part(tree_);
        window_.drop(tail.end);
    }
    document_.end_list();
    return {};
}

// From behind the [ to behind the ].
Result<void> JsonReader::items() {
    window_.drop(window_.skip_space(0));
    if (window_.has(0) && window_.at(0) == ']') {
        window_.drop(1);
        return {};
    }
    while (true) {
        window_.drop(window_.skip_space(0));
        const std::size_t end = window_.value_end(0);
        if (end == JsonWindow::npos || end == 0) return unexpected(end, "an object");
        RETURN_IF_ERROR(parse(window_.front(end), window_.line_at(0)));
        document_.item(tree_);
        const std::size_t behind = window_.skip_space(end);
        if (!window_.has(behind) || (window_.at(behind) != ',' && window_.at(behind) != ']'))
            return unexpected(behind, "a , or ]");
        const bool last = window_.at(behind) == ']';
        window_.drop(behind + 1);
        if (last) return {};
    }
}

// `text` is followed by SIMDJSON_PADDING readable bytes.
Result<void> JsonReader::parse(std::string_view text, int line) {
    tree_.clear();
    simdjson::dom::element element;
    const auto error = parser_.parse(text.data(), text.size(), false).get(element);
    if (error != simdjson::SUCCESS) {
        const JsonFlaw flaw = find_flaw(text);
        const auto newlines = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(flaw.offset), '\n');
        return document_.broken(
            line + static_cast<int>(newlines),
            "is not valid JSON: " + (flaw.message.empty() ? simdjson::error_message(error) : flaw.message));
    }
    tree_.set_json(text, line);
    flaw_line_ = line;
    if (!build(element, kNoNode, {}, 0)) return document_.broken(flaw_line_, flaw_);
    return {};
}

bool JsonReader::build(simdjson::dom::element element, NodeId parent, std::string_view key, int depth) {
    namespace dom = simdjson::dom;
    if (depth > kMaxDepth || tree_.full()) {
        flaw_ = depth > kMaxDepth ? fmt::format("an object is nested more than {} deep", kMaxDepth)
                                  : fmt::format("an object has more than {} values", kMaxNodes);
        return false;
    }
    TreeNode node;
    switch (element.type()) {
        case dom::element_type::NULL_VALUE: break;
        case dom::element_type::BOOL:
            node.kind = NodeKind::kBool;
            node.text = element.get_bool().value_unsafe() ? "true" : "false";
            break;
        case dom::element_type::STRING:
            node.kind = NodeKind::kString;
            node.text = element.get_string().value_unsafe();
            break;
        case dom::element_type::INT64:
        case dom::element_type::UINT64:
        case dom::element_type::DOUBLE: {
            node.kind = NodeKind::kNumber;
            fmt::memory_buffer digits;
            const auto out = std::back_inserter(digits);
            if (element.is_int64())
                fmt::format_to(out, "{}", element.get_int64().value_unsafe());
            else if (element.is_uint64())
                fmt::format_to(out, "{}", element.get_uint64().value_unsafe());
            else
                fmt::format_to(out, "{}", element.get_double().value_unsafe());
            node.text = tree_.keep({digits.data(), digits.size()});
            break;
        }
        case dom::element_type::ARRAY: {
            node.kind = NodeKind::kSequence;
            const NodeId id = tree_.add(parent, key, node);
            const dom::array elements = element.get_array().value_unsafe();
            for (const dom::element child : elements)
                if (!build(child, id, {}, depth + 1)) return false;
            return true;
        }
        case dom::element_type::OBJECT: {
            node.kind = NodeKind::kMapping;
            const NodeId id = tree_.add(parent, key, node);
            const dom::object members = element.get_object().value_unsafe();
            for (const dom::key_value_pair member : members)
                if (!build(member.value, id, member.key, depth + 1)) return false;
            if (document_.duplicate_keys() == DuplicateKeys::kKeep) return true;
            const TreeNode* twice = tree_.find_duplicate(id);
            if (twice == nullptr) return true;
            flaw_ = fmt::format("the key \"{}\" is there twice in one mapping", printable(twice->key));
            flaw_line_ = tree_.line_of(*twice);
            return false;
        }
    }
    tree_.add(parent, key, node);
    return true;
}

Error JsonReader::unexpected(std::size_t at, std::string_view wanted) {
    if (!window_.error()) return document_.broken(0, "cannot be read: " + window_.error().error().message);
    if (window_.too_large())
        return document_.broken(window_.line_at(0),
                                fmt::format("an object has more than {} MiB", kMaxObjectBytes >> 20U));
    if (at == JsonWindow::npos || !window_.has(at)) {
        const int line = window_.line_at(0);
        return document_.broken(window_.line_at(JsonWindow::npos),
                                fmt::format("is not valid JSON: the text ends inside of what begins in line {}", line));
    }
    return document_.broken(window_.line_at(at), fmt::format("is not valid JSON: {} is expected here", wanted));
}

}  // namespace

Result<void> read_json(ByteReader& reader, Documents& document) { return JsonReader(reader, document).run(); }

}  // namespace ghostip::api::codec

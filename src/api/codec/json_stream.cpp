#include "api/codec/json_stream.h"

#include <simdjson.h>

#include <fmt/format.h>

#include "api/codec/peek.h"

namespace ghostip::api::codec {
namespace {

std::size_t space(std::string_view text) {
    const std::size_t end = text.find_first_not_of(" \n\t\r");
    return end == std::string_view::npos ? text.size() : end;
}

}  // namespace

Result<std::string_view> JsonValue::take(std::string_view rest) {
    scanned_ += extent_.take(rest.substr(scanned_));
    if (scanned_ > kMaxObjectBytes) return fail("an object has more than {} MiB", kMaxObjectBytes >> 20U);
    if (!extent_.complete()) return std::string_view();
    if (scanned_ == 0)
        return fail("is not valid JSON: a value is expected before \"{}\"", printable(rest.substr(0, 1)));
    const std::string_view value = rest.substr(0, scanned_);
    *this = {};
    return value;
}

Result<void> JsonWatch::feed(std::string_view bytes) {
    return buffer_.feed(bytes, [this] { return work(); });
}

Result<void> JsonWatch::finish() {
    if (buffer_.broken()) return *buffer_.broken();
    buffer_.drop(space(buffer_.rest()));
    if (!buffer_.rest().empty())
        return fail("the stream ends inside of an event, after {} bytes", buffer_.rest().size());
    return {};
}

Result<void> JsonWatch::work() {
    while (true) {
        buffer_.drop(space(buffer_.rest()));
        if (buffer_.rest().empty()) return {};
        if (buffer_.rest().front() != '{')
            return fail("is not valid JSON: an event is expected before \"{}\"",
                        printable(buffer_.rest().substr(0, 96)));
        ASSIGN_OR_RETURN(const std::string_view text, value_.take(buffer_.rest()));
        if (text.empty()) return {};
        RETURN_IF_ERROR(event(text));
        buffer_.drop(text.size());
    }
}

Result<void> JsonWatch::event(std::string_view text) {
    const JsonReading reading = json_.read(text, 0, tree_);
    if (reading.outcome == JsonOutcome::kNotJson) return fail("an event is not valid JSON: {}", reading.flaw);
    const std::string_view name = peek_text(tree_, &tree_.root(), "type");
    const auto type = event_type_of(name);
    const TreeNode* object = peek(tree_, &tree_.root(), "object");
    if (!type) return fail("an event is of the type \"{}\", which watches do not have", printable(name));
    if (reading.outcome == JsonOutcome::kRefused)
        receiver_.unreadable(*type, tree_, object, {}, reading.flaw);
    else if (object == nullptr)
        return fail("an event of the type {} has no object", name);
    else
        receiver_.event(*type, tree_, *object);
    return {};
}

Result<void> JsonList::feed(std::string_view bytes) {
    return buffer_.feed(bytes, [this] { return work(); });
}

Result<ListMeta> JsonList::finish() {
    if (buffer_.broken()) return *buffer_.broken();
    if (next_ == Next::kOpening) return fail("the answer is empty, but a {} was asked for", receiver_.list_kind());
    if (next_ != Next::kNothing) return fail("the {} ends before it is whole", receiver_.list_kind());
    return meta_;
}

Result<void> JsonList::work() {
    while (true) {
        buffer_.drop(space(buffer_.rest()));
        if (buffer_.rest().empty()) return {};
        ASSIGN_OR_RETURN(const bool more, step(buffer_.rest().front()));
        if (!more) return {};
    }
}

Result<bool> JsonList::step(char first) {
    // Takes one character, if it is this one.
    const auto is = [&](char wanted, Next next) {
        if (first != wanted) return false;
        buffer_.drop(1);
        next_ = next;
        return true;
    };
    const auto is_kept = [&](char wanted, Next next) {
        if (!is(wanted, next)) return false;
        shell_ += wanted;
        return true;
    };
    switch (next_) {
        case Next::kOpening: return is_kept('{', Next::kKeyOrClosing) ? true : wrong("{");
        case Next::kKeyOrClosing:
            if (is_kept('}', Next::kNothing)) break;
            next_ = Next::kKey;
            return true;
        case Next::kKey: return first == '"' ? value() : wrong("a key in quotes");
        case Next::kColon: return is_kept(':', Next::kValue) ? true : wrong(":");
        case Next::kValue:
            if (key_ != "\"items\"" || !is('[', Next::kElementOrClosing)) return value();
            shell_ += "[]";
            return true;
        case Next::kMemberEnd:
            if (is_kept('}', Next::kNothing)) break;
            return is_kept(',', Next::kKey) ? true : wrong(", or }");
        case Next::kElementOrClosing:
            if (is(']', Next::kMemberEnd)) return true;
            next_ = Next::kElement;
            return true;
        case Next::kElement: return value();
        case Next::kElementEnd: return is(',', Next::kElement) || is(']', Next::kMemberEnd) ? true : wrong(", or ]");
        case Next::kNothing: return wrong("the end");
    }
    RETURN_IF_ERROR(whole());
    return true;
}

// A key, the value of a member, or an element.
Result<bool> JsonList::value() {
    ASSIGN_OR_RETURN(const std::string_view text, value_.take(buffer_.rest()));
    if (text.empty()) return false;
    if (next_ == Next::kElement) {
        RETURN_IF_ERROR(item(text));
        next_ = Next::kElementEnd;
    } else {
        if (next_ == Next::kKey) key_ = text;
        shell_ += text;
        if (shell_.size() > kMaxObjectBytes)
            return fail("the {} has more than {} MiB beside its items", receiver_.list_kind(), kMaxObjectBytes >> 20U);
        next_ = next_ == Next::kKey ? Next::kColon : Next::kMemberEnd;
    }
    buffer_.drop(text.size());
    return true;
}

Result<void> JsonList::item(std::string_view text) {
    const JsonReading reading = json_.read(text, 0, tree_);
    if (reading.outcome == JsonOutcome::kNotJson) return fail("an item is not valid JSON: {}", reading.flaw);
    if (reading.outcome == JsonOutcome::kRefused)
        receiver_.unreadable(EventType::kAdded, tree_, &tree_.root(), {}, reading.flaw);
    else
        receiver_.item(tree_);
    return {};
}

Result<void> JsonList::whole() {
    const std::size_t size = shell_.size();
    shell_.resize(size + simdjson::SIMDJSON_PADDING);
    const JsonReading reading = json_.read(std::string_view(shell_).substr(0, size), 0, tree_);
    if (reading.outcome != JsonOutcome::kRead) return fail("the answer is not valid JSON: {}", reading.flaw);
    const TreeNode& root = tree_.root();
    if (const auto status = status_of(tree_, root)) return fail("the answer is no list: {}", status_text(*status));
    if (auto error = receiver_.check_list_type(peek_text(tree_, &root, "apiVersion"), peek_text(tree_, &root, "kind")))
        return *std::move(error);
    const TreeNode* items = peek(tree_, &root, "items");
    // Also one whose key was written with escapes, and not seen as what it is.
    if (items != nullptr && items->kind != NodeKind::kNull &&
        (items->kind != NodeKind::kSequence || items->first != kNoNode))
        return fail("{}: items: must be a list", receiver_.list_kind());
    const TreeNode* metadata = peek(tree_, &root, "metadata");
    meta_ = {std::string(peek_text(tree_, metadata, "resourceVersion")),
             std::string(peek_text(tree_, metadata, "continue"))};
    return {};
}

Result<bool> JsonList::wrong(std::string_view wanted) {
    return fail("the answer is not valid JSON: {} is expected before \"{}\"", wanted,
                printable(buffer_.rest().substr(0, 96)));
}

}  // namespace ghostip::api::codec

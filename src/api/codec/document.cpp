#include "api/codec/document.h"

#include <fmt/format.h>

#include "api/codec/field.h"
#include "api/codec/object_decoder.h"

namespace ghostip::api::codec {
namespace {

constexpr std::string_view kListSuffix = "List";

}  // namespace

void DocumentDecoder::object(const Tree& tree) { decode_object(tree, tree.root(), file_, {}, sink_); }

void DocumentDecoder::item(const Tree& tree) {
    items_.is_item = true;
    if (!list_bad_) decode_object(tree, tree.root(), file_, items_, sink_);
}

void DocumentDecoder::list_part(const Tree& tree) {
    if (list_bad_) return;
    ObjectScope scope{tree, file_, sink_, printable(list_kind_)};
    const Field root = Field::root(scope);
    if (list_line_ == 0) list_line_ = root.line();
    const Field kind = root.member("kind");
    const Field version = root.member("apiVersion");
    const Field items = root.member("items");
    for (const auto& [field, kept] : {std::pair{&kind, &list_kind_}, std::pair{&version, &list_version_}}) {
        const auto text = field->text();
        if (text && !kept->empty()) field->error("is given twice");
        if (text) *kept = *text;
    }
    if (items.present()) items.error("is given twice");
    scope.object = printable(list_kind_);

    if (!list_kind_.empty() && items_.kind.empty() && list_kind_ != kListSuffix) {
        items_.kind = list_kind_.ends_with(kListSuffix) ? list_kind_.substr(0, list_kind_.size() - kListSuffix.size())
                                                        : list_kind_;
        if (list_kind_ == items_.kind || !is_known_kind(items_.kind))
            kind.error(
                fmt::format("is not a kind that ghostip reads; it reads List and the lists of {}", known_kinds()));
    }
    if (!list_kind_.empty() && !list_version_.empty() && !scope.bad) {
        const std::string_view expected = list_kind_ == kListSuffix ? "v1" : api_version_of(items_.kind);
        if (list_version_ != expected)
            (version.present() ? version : kind).error(fmt::format("must be \"{}\" for a {}", expected, list_kind_));
    }
    items_.api_version = list_version_;
    if (scope.bad) list_bad_ = true;
}

void DocumentDecoder::end_list() {
    if (list_kind_.empty() && !list_bad_)
        sink_.problem({file_, list_line_, {}, "kind", {}, "is missing", Severity::kError});
    else if (list_version_.empty() && !list_bad_)
        sink_.problem({file_, list_line_, list_kind_, "apiVersion", {}, "is missing", Severity::kError});
    list_version_.clear();
    list_kind_.clear();
    list_bad_ = false;
    list_line_ = 0;
    items_ = {};
}

Error DocumentDecoder::broken(int line, std::string message) {
    Problem problem{file_, line, {}, {}, {}, std::move(message), Severity::kError};
    Error error{problem.text(), 0};
    sink_.problem(std::move(problem));
    return error;
}

}  // namespace ghostip::api::codec

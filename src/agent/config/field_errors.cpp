#include "agent/config/field_errors.h"

#include <algorithm>

#include "agent/config/scalars.h"

namespace ghostip::agent::config {

void FieldErrors::invalid(std::string_view path, std::string_view value, std::string_view why) {
    add(fmt::format("{}: Invalid value: {}: {}", path, value, why));
}

void FieldErrors::forbidden(std::string_view path, std::string_view why) {
    add(fmt::format("{}: Forbidden: {}", path, why));
}

void FieldErrors::required(std::string_view path, std::string_view why) {
    add(fmt::format("{}: Required value: {}", path, why));
}

void FieldErrors::unsupported(std::string_view path, std::string_view value, const std::vector<std::string>& known) {
    std::vector<std::string> names;
    names.reserve(known.size());
    for (const auto& name : known) names.push_back(quoted(name));
    add(fmt::format("{}: Unsupported value: {}: supported values: {}", path, quoted(value), join(names, ", ")));
}

std::string FieldErrors::text() const {
    return errors_.size() == 1 ? errors_.front() : "[" + join(errors_, ", ") + "]";
}

void FieldErrors::add(std::string error) {
    if (std::find(errors_.begin(), errors_.end(), error) == errors_.end()) errors_.push_back(std::move(error));
}

}  // namespace ghostip::agent::config

// One YAML or JSON text that is no Kubernetes object (a kubeconfig, a configuration file) as a tree, to be read through
// codec::Field. Whole in memory, at most 16 MiB; independent of the text it was read from. Aliases are refused.
#pragma once

#include <memory>
#include <string_view>

#include "api/codec/document.h"
#include "api/codec/tree.h"
#include "base/result.h"

namespace ghostip::api {

using codec::DuplicateKeys;

// The first document of the text; it is a mapping. Text that begins with a { is JSON, or else YAML in braces. An error
// names the file, the line and what is wrong.
[[nodiscard]] Result<std::unique_ptr<const codec::Tree>> parse_document(
    std::string_view text, std::string_view file, DuplicateKeys duplicates = DuplicateKeys::kRefuse);

}  // namespace ghostip::api

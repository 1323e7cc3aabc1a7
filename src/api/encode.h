// Writes objects back as the JSON that Kubernetes would give, with the fields that ghostip keeps.
#pragma once

#include <string>

#include "api/objects.h"

namespace ghostip::api {

// One line. Decoding it gives an object of the same content.
[[nodiscard]] std::string to_json(const Object& object);

}  // namespace ghostip::api

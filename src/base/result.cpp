#include "base/result.h"

#include <system_error>

namespace ghostip {

std::string errno_text(int code) { return std::generic_category().message(code); }

Error errno_error(int code, std::string message) { return {fmt::format("{}: {}", message, errno_text(code)), code}; }

}  // namespace ghostip

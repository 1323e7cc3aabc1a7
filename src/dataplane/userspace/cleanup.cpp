#include "dataplane/userspace/cleanup.h"

namespace ghostip::dataplane::userspace {

Result<void> cleanup(const Mode& redirecting, std::vector<std::string>& kept) { return redirecting.cleanup(kept); }

}  // namespace ghostip::dataplane::userspace

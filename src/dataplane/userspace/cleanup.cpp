#include "dataplane/userspace/cleanup.h"

namespace ghostip::dataplane::userspace {

Result<void> cleanup(const Mode& redirecting) { return redirecting.cleanup(); }

}  // namespace ghostip::dataplane::userspace

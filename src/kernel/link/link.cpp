#include "kernel/link/link.h"

#include <cerrno>

namespace ghostip::kernel::link {

Error not_a_dummy(const Device& device) {
    return {fmt::format("device {} is of kind \"{}\", not dummy: left as it is", device.name, device.kind), EINVAL};
}

Result<void> Links::ensure_dummy(const std::string& name) {
    Result<void> made;
    // Another thread may be about the same: what it made in between is looked at again.
    for (int attempt = 0; attempt < 2; ++attempt) {
        ASSIGN_OR_RETURN(const auto there, find(name));
        if (there && there->kind != kDummy) return not_a_dummy(*there);
        if (there) return {};
        made = create_dummy(name);
        if (made || made.error().code != EEXIST) return made;
    }
    return made;
}

}  // namespace ghostip::kernel::link

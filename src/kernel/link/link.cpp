#include "kernel/link/link.h"

namespace ghostip::kernel::link {

Error not_a_dummy(const Device& device) {
    return {fmt::format("device {} is of kind \"{}\", not dummy: left as it is", device.name, device.kind), EINVAL};
}

Result<void> Links::ensure_dummy(const std::string& name) {
    ASSIGN_OR_RETURN(const auto there, find(name));
    if (there && there->kind != kDummy) return not_a_dummy(*there);
    if (there) return {};
    return create_dummy(name);
}

}  // namespace ghostip::kernel::link

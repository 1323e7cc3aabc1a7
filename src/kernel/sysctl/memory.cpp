#include "kernel/sysctl/memory.h"

#include <cerrno>

namespace ghostip::kernel::sysctl {

Result<std::int64_t> MemorySysctl::read(const std::string& path) const {
    const auto found = values_.find(path);
    if (found == values_.end()) return errno_error(ENOENT, fmt::format("read {}", path));
    return found->second;
}

Result<void> MemorySysctl::write(const std::string& path, std::int64_t value) {
    const auto found = values_.find(path);
    const int failure = found == values_.end() ? ENOENT : write_failure_;
    if (failure != 0) return errno_error(failure, fmt::format("write {} to {}", value, path));
    found->second = value;
    writes_.emplace_back(path, value);
    return {};
}

}  // namespace ghostip::kernel::sysctl

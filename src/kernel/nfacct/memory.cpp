#include "kernel/nfacct/memory.h"

namespace ghostip::kernel::nfacct {

Result<void> MemoryNfacct::check(std::string_view name) const {
    if (failure_ != 0) return errno_error(failure_, fmt::format("counter {}", name));
    if (name.empty() || name.size() > kLongestName || name.find('\0') != std::string_view::npos)
        return errno_error(EINVAL, fmt::format("counter `{}'", name));
    return {};
}

Result<void> MemoryNfacct::create(std::string_view name) {
    const std::lock_guard guard(mutex_);
    RETURN_IF_ERROR(check(name));
    counters_.try_emplace(std::string(name));
    return {};
}

Result<std::optional<Counter>> MemoryNfacct::read(std::string_view name) {
    const std::lock_guard guard(mutex_);
    RETURN_IF_ERROR(check(name));
    const auto found = counters_.find(name);
    if (found == counters_.end()) return std::optional<Counter>();
    return std::optional(found->second);
}

void MemoryNfacct::fail_with(int code) {
    const std::lock_guard guard(mutex_);
    failure_ = code;
}

void MemoryNfacct::count(std::string_view name, Counter more) {
    const std::lock_guard guard(mutex_);
    auto& counter = counters_[std::string(name)];
    counter.packets += more.packets;
    counter.bytes += more.bytes;
}

std::map<std::string, Counter, std::less<>> MemoryNfacct::counters() const {
    const std::lock_guard guard(mutex_);
    return counters_;
}

}  // namespace ghostip::kernel::nfacct

#include "kernel/sysctl/linux.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <string_view>
#include <system_error>

#include "base/fd.h"

namespace ghostip::kernel::sysctl {

Result<std::int64_t> LinuxSysctl::read(const std::string& path) const {
    const Fd file(::open((root_ + path).c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return fail_errno("read {}", path);
    std::array<char, 64> text{};
    const auto size = ::read(file.get(), text.data(), text.size());
    if (size < 0) return fail_errno("read {}", path);
    std::int64_t value = 0;
    const auto* const end = text.data() + size;
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || (rest != end && *rest != '\n'))
        return fail("read {}: \"{}\" is not one number", path,
                    std::string_view(text.data(), static_cast<std::size_t>(size)));
    return value;
}

// The kernel takes or refuses a number with the one write that brings it.
Result<void> LinuxSysctl::write(const std::string& path, std::int64_t value) {
    const Fd file(::open((root_ + path).c_str(), O_WRONLY | O_CLOEXEC));
    if (!file) return fail_errno("write {} to {}", value, path);
    const std::string text = std::to_string(value);
    if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        return fail_errno("write {} to {}", value, path);
    return {};
}

}  // namespace ghostip::kernel::sysctl

#include "api/byte_reader.h"

#include <unistd.h>

#include <algorithm>

namespace ghostip::api {

Result<std::size_t> MemoryReader::read(std::span<char> out) {
    const std::size_t size = std::min({out.size(), rest_.size(), chunk_});
    std::copy_n(rest_.begin(), size, out.begin());
    rest_.remove_prefix(size);
    return size;
}

Result<std::size_t> FileReader::read(std::span<char> out) {
    ssize_t size = -1;
    do {
        size = ::read(fd_.get(), out.data(), out.size());
    } while (size < 0 && errno == EINTR);
    if (size < 0) return fail_errno("read");
    return static_cast<std::size_t>(size);
}

}  // namespace ghostip::api

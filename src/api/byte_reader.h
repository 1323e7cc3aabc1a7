// Where bytes come from: a file in production, memory in tests.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace ghostip::api {

class ByteReader {
  public:
    virtual ~ByteReader() = default;
    // Fills the front of `out` and says how much; 0 = the end. Short reads are allowed.
    [[nodiscard]] virtual Result<std::size_t> read(std::span<char> out) = 0;
};

// Does not own the text. `chunk` is the most that one read gives.
class MemoryReader : public ByteReader {
  public:
    explicit MemoryReader(std::string_view text, std::size_t chunk = std::string_view::npos)
        : rest_(text), chunk_(chunk) {}
    [[nodiscard]] Result<std::size_t> read(std::span<char> out) override;

  private:
    std::string_view rest_;
    const std::size_t chunk_;
};

class FileReader : public ByteReader {
  public:
    explicit FileReader(Fd fd) : fd_(std::move(fd)) {}
    [[nodiscard]] Result<std::size_t> read(std::span<char> out) override;
    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    const Fd fd_;
};

}  // namespace ghostip::api

#include "relay/memory_testing.h"

#include <sys/prctl.h>

#include <array>
#include <cstdlib>
#include <new>
#include <string_view>

namespace ghostip::relay::testing {
namespace {

bool on_relay_thread() {
    std::array<char, 16> name{};
    ::prctl(PR_GET_NAME, name.data());
    return std::string_view(name.data()).starts_with("relay/");
}

bool must_fail() {
    const auto which = failing.load();
    if (which == Failing::kNone || !on_relay_thread()) return false;
    const int left = still_granted.fetch_sub(1);
    if (left > 0 || (left < 0 && which == Failing::kOne)) return false;
    ++failures;
    return true;
}

}  // namespace

void* allocate(std::size_t size) noexcept { return must_fail() ? nullptr : std::malloc(size == 0 ? 1 : size); }

}  // namespace ghostip::relay::testing

using ghostip::relay::testing::allocate;

void* operator new(std::size_t size) {
    if (void* memory = allocate(size)) return memory;
    throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t& /*tag*/) noexcept { std::free(memory); }

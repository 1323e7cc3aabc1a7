#include "fuzz_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ghostip::fuzz::check(data, size, ghostip::api::Format::kJson);
    return 0;
}

#include "fuzz_stream.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ghostip::fuzz::check_stream<ghostip::api::ListDecoder>(data, size, ghostip::api::Encoding::kJson);
    return 0;
}

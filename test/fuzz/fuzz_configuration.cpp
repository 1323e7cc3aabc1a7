// Configuration files: no crash whatever the text, and what is read is written as something that is read back the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>

#include "agent/config/decode.h"
#include "agent/config/encode.h"
#include "agent/config/validate.h"

namespace {

namespace config = ghostip::agent::config;

[[noreturn]] void die(std::string_view what, std::string_view text) {
    fmt::print(stderr, "{}: {}\n", what, text);
    std::abort();
}

void read_back(const config::KubeProxyConfiguration& configuration, const std::string& text) {
    const auto back = config::decode_configuration(text, "f");
    if (!back) die("is not read back", back.error().message);
    if (!back->lenient.empty()) die("is not strict", back->lenient.front());
    if (config::to_yaml(back->configuration) != config::to_yaml(configuration)) die("is read back as another", text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto decoded = config::decode_configuration({reinterpret_cast<const char*>(data), size}, "f");
    if (!decoded) {
        if (decoded.error().message.empty()) die("an error without words", "");
        return 0;
    }
    // Twice written: the first time drops what belongs to other modes.
    const auto first = config::decode_configuration(config::to_yaml(decoded->configuration), "f");
    if (!first) die("is not read back", first.error().message);
    read_back(first->configuration, config::to_yaml(first->configuration));
    read_back(first->configuration, config::to_json(first->configuration));
    (void)config::validate(decoded->configuration);
    (void)config::without_meaning(decoded->configuration);
    return 0;
}

// One rule of iptables, whatever it is, brought into its saved form: that is one line, and is left as it is when it
// comes again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "kernel/iptables/rule_text.h"
#include "kernel/iptables/words.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace ghostip;
    const std::string_view rule(reinterpret_cast<const char*>(data), size);
    for (const auto family : net::kFamilies) {
        const std::string once = kernel::iptables::canonical(rule, family);
        if (kernel::iptables::canonical(once, family) != once) std::abort();
        if (!kernel::iptables::split_words(rule) && once != rule) std::abort();
    }
    return 0;
}

// What iptables-save printed: whatever it is, only chains on the list are named, and what was removed is not asked for
// again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "agent/iptables_traces.h"

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto removal = ghostip::agent::iptables_removal({reinterpret_cast<const char*>(data), size});
    require(removal.restore.empty() == (removal.chains == 0));
    std::string_view text = removal.restore;
    std::string_view table;
    std::size_t deleted = 0;
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(line.size() + 1);
        if (line.starts_with('*')) table = line.substr(1);
        if (line.starts_with("-X ")) {
            ++deleted;
            require(ghostip::agent::is_kube_proxy_chain(table, line.substr(3)));
        }
    }
    require(deleted == removal.chains);
    return 0;
}

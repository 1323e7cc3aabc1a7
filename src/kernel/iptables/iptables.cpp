#include "kernel/iptables/iptables.h"

namespace ghostip::kernel::iptables {

std::string_view variant_name(Variant variant) { return variant == Variant::kNft ? "nft" : "legacy"; }

Result<Refused> Iptables::restore(std::string_view text) {
    bool given = false;
    return restore([&]() -> std::string_view {
        if (given) return {};
        given = true;
        return text;
    });
}

}  // namespace ghostip::kernel::iptables

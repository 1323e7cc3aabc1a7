// What nf_tables says that it holds: any bytes become values, the same each time, and values that claim to be ours have
// the shape of ours.
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "kernel/netlink/attributes.h"
#include "kernel/netlink/messages.h"
#include "kernel/nft/decode.h"

namespace {

using namespace ghostip;
using namespace ghostip::kernel;

void require(bool holds) {
    if (!holds) std::abort();
}

void check(const nlmsghdr* message, net::Family family) {
    const auto chain = nft::decode_chain(message);
    require(chain == nft::decode_chain(message));
    const auto rule = nft::decode_rule(message, family);
    require(rule == nft::decode_rule(message, family));
    require(nft::same_in_kernel(rule.second, rule.second));
    const auto set = nft::decode_set(message, family);
    require(set == nft::decode_set(message, family));
    require(!set || (set->key.size() <= 6 && set->data.size() <= 6));
    for (const nlattr* attribute : netlink::attributes(message, sizeof(nfgenmsg))) {
        std::vector<std::uint8_t> bytes;
        nft::decode_element(attribute, 24, 8, bytes);
        require(bytes.size() == 32 || bytes.empty());
        for (const nlattr* element : netlink::nested(attribute))
            require(nft::decode_count(element) == nft::decode_count(element));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    for (const nlmsghdr* message : netlink::messages(data, size)) {
        if (message->nlmsg_len < sizeof(nlmsghdr) + sizeof(nfgenmsg)) continue;
        for (const auto family : net::kFamilies) check(message, family);
    }
    return 0;
}

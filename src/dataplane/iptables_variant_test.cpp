#include "dataplane/iptables_variant.h"

#include <gtest/gtest.h>

#include "kernel/iptables/memory.h"

namespace ghostip::dataplane {
namespace {

using kernel::iptables::MemoryIptables;
using kernel::iptables::Variant;

TEST(IptablesVariant, IsWhatTheHostUses) {
    struct Case {
        const char* name;
        const char* nft;  // what the tables hold
        const char* legacy;
        Variant chosen;
        bool second_family = false;
    };
    constexpr const char* kHint = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n";
    constexpr const char* kKubeletCanary = "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n";
    constexpr const char* kProxy = "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n";
    constexpr const char* kOneRule = "*filter\n-A INPUT -s 10.0.0.1 -j DROP\nCOMMIT\n";
    constexpr const char* kTwoRules = "*filter\n-A INPUT -s 10.0.0.1 -j DROP\n-A INPUT -s 10.0.0.2 -j DROP\nCOMMIT\n";
    for (const auto& c :
         {Case{"in the other family", "", kProxy, Variant::kLegacy, true}, Case{"nothing", "", "", Variant::kNft},
          Case{"the kubelet's hint", "", kHint, Variant::kLegacy},
          Case{"the kubelet's canary before a proxy's rules", kProxy, kKubeletCanary, Variant::kLegacy},
          Case{"a proxy before many rules", kTwoRules, kProxy, Variant::kLegacy},
          Case{"more rules", kOneRule, kTwoRules, Variant::kLegacy}, Case{"as many", kOneRule, kOneRule, Variant::kNft},
          Case{"fewer", kTwoRules, kOneRule, Variant::kNft}}) {
        SCOPED_TRACE(c.name);
        std::vector<Evidence> all;
        for (const auto variant : {Variant::kNft, Variant::kLegacy}) {
            MemoryIptables v4(variant, net::Family::kIpv4);
            MemoryIptables v6(variant, net::Family::kIpv6);  // of a process, both families count
            static_cast<void>((c.second_family ? v6 : v4).restore(variant == Variant::kNft ? c.nft : c.legacy));
            Evidence evidence{variant};
            ASSERT_TRUE(gather(v4, evidence).has_value());
            ASSERT_TRUE(gather(v6, evidence).has_value());
            all.push_back(evidence);
        }
        EXPECT_EQ(choose(all), c.chosen);
        std::swap(all.front(), all.back());
        EXPECT_EQ(choose(all), c.chosen) << "in any order";
    }
    const Evidence only{Variant::kLegacy};
    EXPECT_EQ(choose({&only, 1}), Variant::kLegacy);
}

TEST(IptablesVariant, TheCallersWord) {
    EXPECT_EQ(choose_variant({"nft"}).value(), Variant::kNft);
    EXPECT_EQ(choose_variant({"legacy"}).value(), Variant::kLegacy);
    EXPECT_FALSE(choose_variant({"other"}).has_value());
}

}  // namespace
}  // namespace ghostip::dataplane

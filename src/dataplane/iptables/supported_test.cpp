#include "dataplane/iptables/supported.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/iptables/dataplane_testing.h"
#include "dataplane/iptables/trial.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(IptablesSupported, NamesWhatIsMissing) {
    struct Case {
        const char* refused;
        const char* sentence;
    };
    for (const auto variant : {Variant::kNft, Variant::kLegacy})
        for (const auto family : net::kFamilies)
            for (const auto& c :
                 {Case{"-m statistic", "random choices (xt_statistic)"}, Case{"-m addrtype", "address types"},
                  Case{"-j REJECT", "rejecting"}, Case{"-j DNAT", "destination NAT"},
                  Case{"-m conntrack", "connection tracking"}, Case{"--or-mark", "setting marks"},
                  Case{"-m mark", "matching marks"}, Case{"-m comment", "comments"}}) {
                SCOPED_TRACE(c.refused);
                MemoryIptables twin(variant, family);
                EXPECT_THAT(missing(twin), IsEmpty());
                twin.refuse_rules_with(c.refused);
                EXPECT_THAT(missing(twin),
                            ElementsAre(::testing::AllOf(HasSubstr(c.sentence), HasSubstr(net::family_name(family)),
                                                         HasSubstr(variant_name(variant)))));
                for (const char* table : {"nat", "filter"})
                    for (const auto& line : twin.saved(table)) EXPECT_THAT(line, Not(HasSubstr("GHOSTIP")));
            }
}

TEST(IptablesSupported, AffinityDoesNotCount) {
    MemoryIptables twin(Variant::kNft, net::Family::kIpv4);
    twin.refuse_rules_with("-m recent");
    EXPECT_THAT(missing(twin), IsEmpty());
    const auto tried = try_out(twin, {}, {affinity_rule(net::Family::kIpv4)});
    ASSERT_TRUE(tried.has_value());
    EXPECT_TRUE(tried->has_value());
}

TEST(IptablesSupported, NoProgram) {
    MemoryIptables twin(Variant::kNft, net::Family::kIpv4);
    twin.fail_calls(1, EPERM);
    EXPECT_THAT(missing(twin), ElementsAre(HasSubstr("Operation not permitted")));
}

}  // namespace
}  // namespace ghostip::dataplane::iptables

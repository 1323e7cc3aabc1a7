#include "dataplane/iptables/chain_id.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "kernel/iptables/iptables.h"

namespace ghostip::dataplane::iptables {
namespace {

std::string any_name() {
    const auto length = *rc::gen::inRange<std::size_t>(0, kernel::iptables::kLongestChain + 1);
    // Few letters, so that names begin alike; one that char may take for negative.
    return *rc::gen::container<std::string>(length, rc::gen::element('A', 'B', '-', '2', 'z', '\xc3'));
}

RC_GTEST_PROP(ChainIds, LoseNothing, ()) {
    const auto name = any_name();
    RC_ASSERT(ChainId::of(name)->name() == name);
}

RC_GTEST_PROP(ChainIds, AreOrderedAsNames, ()) {
    const auto one = any_name();
    const auto other = *rc::gen::oneOf(
        rc::gen::exec(any_name),
        rc::gen::map(rc::gen::element('A', 'z'), [&](char last) { return one.substr(0, one.size() / 2) + last; }));
    RC_ASSERT((*ChainId::of(one) < *ChainId::of(other)) == (one < other));
    RC_ASSERT((*ChainId::of(one) == *ChainId::of(other)) == (one == other));
}

TEST(ChainIds, NotOfWhatIsTooLong) {
    EXPECT_TRUE(ChainId::of(std::string(28, 'A')).has_value());
    EXPECT_FALSE(ChainId::of(std::string(29, 'A')).has_value());
}

}  // namespace
}  // namespace ghostip::dataplane::iptables

// What is counted of an edit beforehand is what the edit brings, whatever the kernel lacks.
#include "dataplane/iptables/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "dataplane/iptables/dataplane_testing.h"
#include "dataplane/iptables/desired.h"
#include "plan/world_testing.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using plan::testing::Command;
using plan::testing::World;

// Some rules and chains of the table are gone.
void damage(MemoryIptables& twin, std::string_view table) {
    for (const auto& line : twin.saved(table)) {
        const auto chain = line.starts_with(':') ? line.substr(1, line.find(' ') - 1) : std::string();
        if (*rc::gen::inRange(0, 4) != 0) continue;
        if (line.starts_with("-A KUBE-"))
            static_cast<void>(twin.delete_rule(table, line));
        else if (is_service_chain(chain))
            static_cast<void>(twin.delete_chain(table, chain));
    }
}

RC_GTEST_PROP(IptablesComparison, CountsWhatEditsBring, (const std::vector<Command>& commands, std::uint32_t seed)) {
    World world(seed % 2 == 0 ? net::Family::kIpv4 : net::Family::kIpv6, seed);
    plan::Planner planner(world.family(), world.settings(), plan::iptables_profile(), world.host());
    for (const auto& command : commands)
        if (const auto change = world.change(command)) static_cast<void>(planner.apply({*change}));
    const auto& plan = planner.plan();
    MemoryIptables twin(seed % 3 == 0 ? Variant::kLegacy : Variant::kNft, world.family());
    OnTwin place(twin);
    if (seed % 4 != 0) RC_ASSERT(place.reconcile(plan).has_value());
    for (const char* table : {tables::kNat, tables::kFilter}) damage(twin, table);

    std::vector<std::pair<plan::ServicePortPlanPtr, std::uint16_t>> units;
    for (const auto& [name, service_port] : plan.service_ports)
        units.emplace_back(service_port, health_check_port(plan, name));
    const auto context = context_for(plan.node, world.family(), {}, known_endpoints(plan));
    Comparison comparison(
        context, units.size(), 0,
        [&](std::size_t unit, bool) { return render_service_port(*units[unit].first, units[unit].second, context); },
        {});
    RC_ASSERT(comparison.look(twin).has_value());

    std::size_t lacking = 0;
    std::vector<std::pair<std::string, std::size_t>> declared;
    const auto expected = comparison.lacking();
    for (std::size_t unit = 0; unit < units.size(); ++unit) {
        const Edit edit = comparison.edit_of(unit);
        const bool lacks = lacking < expected.size() && expected[lacking].unit == unit;
        RC_ASSERT(edit.empty() == !lacks);
        if (!lacks) continue;
        RC_ASSERT(count_edit(edit) == expected[lacking].counts);
        ++lacking;
        std::istringstream lines(edit.in(Part::kNat));
        for (std::string line; std::getline(lines, line);)
            if (line.starts_with(':')) declared.emplace_back(line.substr(1, line.find(' ') - 1), unit);
    }
    RC_ASSERT(lacking == expected.size());
    std::sort(declared.rbegin(), declared.rend());
    std::vector<std::pair<std::string, std::size_t>> told;
    const auto chains = comparison.chains_of_edits();
    while (const auto chain = chains()) told.emplace_back(chain->name, chain->unit);
    RC_ASSERT(told == declared);
}

}  // namespace
}  // namespace ghostip::dataplane::iptables

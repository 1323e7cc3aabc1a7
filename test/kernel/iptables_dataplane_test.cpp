// The iptables dataplane on the real programs and the kernel of this machine, in network namespaces of its own: it
// writes what the twin in memory would hold, reads it back as its own, and leaves nothing behind.
#include <algorithm>
#include <random>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/iptables/cleanup.h"
#include "dataplane/iptables/dataplane_testing.h"
#include "dataplane/iptables/sighting.h"
#include "dataplane/iptables/supported.h"
#include "kernel/iptables/linux.h"
#include "plan/world_testing.h"
#include "support/namespace.h"

namespace ghostip::dataplane::iptables {
namespace {

using namespace testing;
using kernel::iptables::LinuxIptables;
using net::Family;
using plan::testing::Command;
using plan::testing::World;
using ::testing::IsEmpty;
using testnet::Namespace;

struct Place {
    Variant variant;
    Family family;
};
constexpr std::array<Place, 4> kEveryPlace{{{Variant::kNft, Family::kIpv4},
                                            {Variant::kNft, Family::kIpv6},
                                            {Variant::kLegacy, Family::kIpv4},
                                            {Variant::kLegacy, Family::kIpv6}}};

Namespace make_namespace() {
    auto space = Namespace::create();
    if (!space) throw std::runtime_error("needs root: " + space.error().message);
    return std::move(*space);
}

Options options_of(Variant variant) { return {std::string(variant_name(variant))}; }

// Chains and rules of nat and filter, chains sorted; those of shared chains too.
Lines normal(Lines lines) {
    std::erase_if(lines, [](const std::string& line) {
        return line.starts_with("mangle: :") && !line.ends_with("CANARY - [0:0]");
    });
    std::stable_sort(lines.begin(), lines.end(), [](const std::string& a, const std::string& b) {
        const auto name = [](const std::string& line) {
            const auto end =
                line.find(' ', line.find(": -A ") != std::string::npos ? line.find(": -A ") + 5 : line.size());
            return line.substr(0, end);
        };
        return name(a) < name(b);
    });
    const auto is_shared = [](const std::string& line) {
        return line.find("NOTE: this must be") == std::string::npos &&
               std::any_of(kPlaces.begin(), kPlaces.end(), [&](iptables::Place place) {
                   return line.starts_with(fmt::format("{}: -A {} ", table_of(place), chain_of(place)));
               });
    };
    const auto shared =
        std::stable_partition(lines.begin(), lines.end(), [&](const auto& line) { return !is_shared(line); });
    std::sort(shared, lines.end());
    return lines;
}

Lines real_lines(const Place& place) {
    const auto iptables = LinuxIptables::open(place.variant, place.family);
    EXPECT_TRUE(iptables.has_value());
    Lines lines;
    for (const char* table : tables::kAll) {
        const auto done = (*iptables)->save(
            table, [&](std::string_view line) { lines.push_back(fmt::format("{}: {}", table, line)); });
        EXPECT_TRUE(done.has_value());
    }
    return normal(std::move(lines));
}

// What this kernel can do beyond what is needed, as the rules show it.
Settings settings_of(const Lines& lines) {
    Settings settings;
    settings.counters = std::any_of(lines.begin(), lines.end(),
                                    [](const auto& line) { return line.find("nfacct") != std::string::npos; });
    settings.liberal = std::none_of(lines.begin(), lines.end(),
                                    [](const auto& line) { return line.find("INVALID") != std::string::npos; });
    return settings;
}

TEST(IptablesDataplaneOnLinux, HoldsWhatTheTwinHolds) {
    for (const auto& place : kEveryPlace) {
        SCOPED_TRACE(fmt::format("{} {}", variant_name(place.variant), net::family_name(place.family)));
        for (std::uint32_t seed = 0; seed < 3; ++seed) {
            const auto space = make_namespace();
            const auto inside = space.enter();
            ASSERT_THAT(missing(place.family, options_of(place.variant)), IsEmpty());
            auto opened = open_dataplane(place.family, options_of(place.variant));
            ASSERT_TRUE(opened.has_value()) << opened.error().message;
            auto& dataplane = **opened;
            std::mt19937 random(seed);
            World world(place.family, seed);
            plan::Planner planner(world.family(), world.settings(), plan::iptables_profile(), world.host());
            static_cast<void>(planner.apply({}));
            const auto start = dataplane.reconcile(planner.plan());
            ASSERT_TRUE(start.has_value()) << start.error().message;
            for (int step = 0; step < 25; ++step) {
                Command command;
                command.what = static_cast<Command::What>(random() % 3);
                command.remove = random() % 5 == 0;
                command.index = static_cast<std::uint8_t>(random() % 12);
                command.seed = random() % (1U << 30U);
                const auto change = world.change(command);
                const auto outcome = dataplane.apply(planner.apply({*change}));
                ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
                EXPECT_THAT(outcome->set_aside, IsEmpty());
            }
            const auto lines = real_lines(place);
            const auto settings = settings_of(lines);
            MemoryIptables twin(place.variant, place.family);
            OnTwin model(twin, settings);
            ASSERT_TRUE(model.reconcile(planner.plan()).has_value());
            EXPECT_EQ(lines, normal(all_lines(twin)));

            // Another process takes over.
            auto successor = open_dataplane(place.family, options_of(place.variant));
            ASSERT_TRUE(successor.has_value());
            const auto taken = (*successor)->reconcile(planner.plan());
            ASSERT_TRUE(taken.has_value()) << taken.error().message;
            EXPECT_EQ(taken->transactions, 0U);
            const auto sight_of_all = (*successor)->look(planner.plan())();
            ASSERT_TRUE(sight_of_all.has_value());
            const auto checked = (*successor)->check(planner.plan(), *sight_of_all);
            ASSERT_TRUE(checked.has_value());
            EXPECT_EQ(checked->differences, 0U);
            const auto plan = planner.plan();
            const plan::Explainer explainer(plan, plan::iptables_profile());
            for (const auto& [name, service_port] : plan.service_ports)
                for (const auto& destination : service_port->destinations) {
                    const auto& key = destination.key;
                    const auto to = key.node_port
                                        ? plan.node.addresses.empty() ? key.address : plan.node.addresses.back()
                                        : key.address;
                    const auto journey = explainer.explain({to, to, key.protocol, key.port, {}});
                    const auto seen = sight(plan, journey, options_of(place.variant));
                    ASSERT_TRUE(seen.has_value()) << seen.error().message;
                    EXPECT_THAT(seen->differences, IsEmpty()) << key.text();
                }
            std::vector<std::string> kept;
            ASSERT_TRUE(cleanup(kept).has_value());
            for (const auto& line : real_lines(place)) {
                const bool kubelets = line.find("KUBE-FIREWALL") != std::string::npos;
                EXPECT_TRUE(kubelets || line.find("KUBE") == std::string::npos) << line;
            }
        }
    }
}

// Rules that Kubernetes' own proxy would have given, and drift of several kinds.
TEST(IptablesDataplaneOnLinux, RepairsDrift) {
    for (const auto& place : kEveryPlace) {
        SCOPED_TRACE(fmt::format("{} {}", variant_name(place.variant), net::family_name(place.family)));
        const auto space = make_namespace();
        const auto inside = space.enter();
        World world(place.family, 1);
        plan::Planner planner(world.family(), world.settings(), plan::iptables_profile(), world.host());
        for (std::uint32_t i = 0; i < 24; ++i) {
            Command command;
            command.what = i % 2 == 0 ? Command::What::kService : Command::What::kSlice;
            command.index = static_cast<std::uint8_t>(i / 2);
            command.seed = 1000 + i;
            static_cast<void>(planner.apply({*world.change(command)}));
        }
        const auto plan = planner.plan();
        auto opened = open_dataplane(place.family, options_of(place.variant));
        ASSERT_TRUE(opened.has_value());
        ASSERT_TRUE((*opened)->reconcile(plan).has_value());
        const auto right = real_lines(place);
        const auto iptables = LinuxIptables::open(place.variant, place.family);
        ASSERT_TRUE(iptables.has_value());
        std::string first_dispatch;
        std::string first_pool;
        for (const auto& line : right) {
            if (first_dispatch.empty() && line.starts_with("nat: -A KUBE-SERVICES -d")) first_dispatch = line.substr(8);
            if (first_pool.empty() && line.starts_with("nat: :KUBE-SVC-"))
                first_pool = line.substr(6, line.find(' ', 6) - 6);
        }
        ASSERT_FALSE(first_dispatch.empty());
        ASSERT_FALSE(first_pool.empty());
        const std::string stranger = place.family == Family::kIpv4 ? "10.9.9.9" : "fd00::9";
        for (const auto& [text, differences] :
             {std::pair<std::string, std::uint64_t>{"*nat\n-D " + first_dispatch + "\nCOMMIT\n", 1},
              {"*nat\n-A KUBE-SERVICES -s " + stranger + " -j RETURN\nCOMMIT\n", 1},
              {"*nat\n-I KUBE-NODEPORTS -s " + stranger + " -j RETURN\nCOMMIT\n", 1},
              {"*nat\n-A " + first_pool + " -s " + stranger + " -j RETURN\nCOMMIT\n", 1},
              {"*nat\n-F " + first_pool + "\nCOMMIT\n", 1},
              {"*nat\n:KUBE-SVC-X - [0:0]\n:KUBE-SEP-X - [0:0]\n-A KUBE-SVC-X -j KUBE-SEP-X\nCOMMIT\n", 2},
              {"*filter\n-F KUBE-FORWARD\nCOMMIT\n", 1},
              {"*filter\n-A KUBE-EXTERNAL-SERVICES -s " + stranger + " -j DROP\nCOMMIT\n", 1},
              {"*nat\n-F\nCOMMIT\n*filter\n-F\nCOMMIT\n", 0}}) {
            SCOPED_TRACE(text);
            const auto refused = (*iptables)->restore(text);
            ASSERT_TRUE(refused.has_value());
            ASSERT_FALSE(refused->has_value()) << (*refused)->reason;
            const auto sight_of_all = (*opened)->look(plan)();
            ASSERT_TRUE(sight_of_all.has_value());
            const auto repaired = (*opened)->check(plan, *sight_of_all);
            ASSERT_TRUE(repaired.has_value()) << repaired.error().message;
            if (differences != 0) {
                EXPECT_EQ(repaired->differences, differences);
            } else {
                EXPECT_GT(repaired->differences, 20U);
            }
            EXPECT_EQ(real_lines(place), right);
        }
        std::vector<std::string> kept;
        ASSERT_TRUE(cleanup(kept).has_value());
    }
}

}  // namespace
}  // namespace ghostip::dataplane::iptables

// For tests: the dataplane on the twin of iptables, and what the twin holds brought into a form that compares.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/iptables/dataplane.h"
#include "dataplane/iptables/render_fixed.h"
#include "kernel/iptables/memory.h"
#include "kernel/nfacct/memory.h"
#include "kernel/sysctl/memory.h"
#include "plan/plan_testing.h"

namespace ghostip::dataplane::iptables::testing {

using kernel::iptables::MemoryIptables;
using kernel::iptables::Variant;

// Speaks to a twin that somebody else owns, so that two processes may have the same kernel. `words`: how this iptables
// prints a saved line; empty: as it is.
class Borrowed final : public kernel::iptables::Iptables {
  public:
    using Words = std::function<std::string(std::string_view saved)>;
    explicit Borrowed(MemoryIptables& twin, Words words = nullptr) : twin_(twin), words_(std::move(words)) {}
    using Iptables::restore;
    [[nodiscard]] net::Family family() const override { return twin_.family(); }
    [[nodiscard]] Variant variant() const override { return twin_.variant(); }
    [[nodiscard]] kernel::iptables::Version version() const override { return twin_.version(); }
    [[nodiscard]] Result<void> save(std::string_view table, const kernel::iptables::LineSink& line) override {
        if (!words_) return twin_.save(table, line);
        return twin_.save(table, [&](std::string_view saved) { line(words_(saved)); });
    }
    [[nodiscard]] Result<kernel::iptables::Refused> restore(const kernel::iptables::TextSource& text) override {
        return twin_.restore(text);
    }
    [[nodiscard]] Result<bool> has_chain(std::string_view table, std::string_view chain) override {
        return twin_.has_chain(table, chain);
    }

  private:
    MemoryIptables& twin_;
    const Words words_;
};

inline constexpr const char* kRouteLocalnet = "/proc/sys/net/ipv4/conf/all/route_localnet";
inline constexpr const char* kLiberal = "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal";

inline Limits impatient(std::size_t lines_at_once = kLinesAtOnce) {
    return {lines_at_once, std::chrono::milliseconds(0), std::chrono::milliseconds(0)};
}

struct Settings {
    bool counters = true;
    std::int64_t liberal = 0;
    Limits limits = impatient();
};

// A process on the host of a twin.
struct OnTwin {
    explicit OnTwin(MemoryIptables& the_twin, const Settings& settings = {})
        : twin(the_twin), dataplane(host(settings), settings.limits) {}

    [[nodiscard]] Result<Outcome> reconcile(const plan::Plan& plan) { return dataplane.reconcile(plan); }
    [[nodiscard]] Result<Outcome> apply(const plan::Delta& delta) { return dataplane.apply(delta); }

    MemoryIptables& twin;
    kernel::sysctl::MemorySysctl* sysctl = nullptr;    // the dataplane owns it
    kernel::nfacct::MemoryNfacct* counters = nullptr;  // likewise; null: the kernel has none
    IptablesDataplane dataplane;

  private:
    IptablesDataplane::Host host(const Settings& settings) {
        IptablesDataplane::Host made;
        made.iptables = std::make_unique<Borrowed>(twin);
        made.background = std::make_unique<Borrowed>(twin);
        auto own_sysctl = std::make_unique<kernel::sysctl::MemorySysctl>(
            std::map<std::string, std::int64_t>{{kRouteLocalnet, 0}, {kLiberal, settings.liberal}});
        sysctl = own_sysctl.get();
        made.sysctl = std::move(own_sysctl);
        if (!settings.counters) return made;
        auto own_counters = std::make_unique<kernel::nfacct::MemoryNfacct>();
        counters = own_counters.get();
        made.counters = std::move(own_counters);
        return made;
    }
};

using Lines = std::vector<std::string>;

// "nat: -A KUBE-..."; all tables.
inline Lines all_lines(const MemoryIptables& twin) {
    Lines lines;
    for (const char* table : tables::kAll)
        for (const auto& line : twin.saved(table)) lines.push_back(std::string(table) + ": " + line);
    return lines;
}

// The rules of shared chains sorted, since their order says nothing, but for the last ones of KUBE-SERVICES.
inline Lines comparable(const MemoryIptables& twin) {
    Lines shared;
    Lines rest;
    for (const auto& line : all_lines(twin)) {
        const bool is_tail = line.find("NOTE: this must be the last rule") != std::string::npos;
        const bool is_shared = std::any_of(kPlaces.begin(), kPlaces.end(), [&](Place place) {
            return line.starts_with(fmt::format("{}: -A {} ", table_of(place), chain_of(place)));
        });
        (is_shared && !is_tail ? shared : rest).push_back(line);
    }
    std::sort(shared.begin(), shared.end());
    // Chains come in an order of their own, in the twin: by name.
    rest.insert(rest.end(), shared.begin(), shared.end());
    return rest;
}

// Tails that are not last; one sentence each.
inline Lines misplaced_tails(const MemoryIptables& twin) {
    Lines wrong;
    bool begun = false;
    for (const auto& line : twin.saved(tables::kNat)) {
        if (!line.starts_with("-A KUBE-SERVICES ")) continue;
        const bool is_tail = line.find("NOTE: this must be the last rule") != std::string::npos;
        if (begun && !is_tail) wrong.push_back("behind the last rule: " + line);
        begun = begun || is_tail;
    }
    return wrong;
}

// What a first start makes of a plan on an empty kernel.
inline Lines freshly_made(const plan::Plan& plan, Variant variant, const Settings& settings = {}) {
    MemoryIptables twin(variant, plan.family);
    OnTwin fresh(twin, settings);
    static_cast<void>(fresh.reconcile(plan));
    return comparable(twin);
}

// Texts given to the twin, but for the trials of a start.
inline Lines written(const MemoryIptables& twin) {
    Lines texts;
    for (auto& text : twin.texts())
        if (text.find("GHOSTIP-TRIAL") == std::string::npos) texts.push_back(std::move(text));
    return texts;
}

}  // namespace ghostip::dataplane::iptables::testing

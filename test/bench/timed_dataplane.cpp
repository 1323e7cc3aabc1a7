#include "bench/timed_dataplane.h"

#include <utility>

#include "dataplane/iptables/dataplane.h"
#include "dataplane/iptables/variant.h"
#include "kernel/iptables/linux.h"
#include "kernel/nfacct/linux.h"
#include "kernel/sysctl/linux.h"

namespace ghostip::bench {
namespace {

using dataplane::iptables::IptablesDataplane;

class TimedIptables final : public kernel::iptables::Iptables {
    template <typename Call>
    auto timed(const Call& call) {
        const auto begin = Clock::now();
        auto result = call();
        *total_ += Clock::now() - begin;
        return result;
    }

  public:
    TimedIptables(std::unique_ptr<Iptables> programs, std::shared_ptr<Clock::duration> total)
        : programs_(std::move(programs)), total_(std::move(total)) {}

    using Iptables::restore;
    [[nodiscard]] net::Family family() const override { return programs_->family(); }
    [[nodiscard]] kernel::iptables::Variant variant() const override { return programs_->variant(); }
    [[nodiscard]] kernel::iptables::Version version() const override { return programs_->version(); }
    [[nodiscard]] Result<void> save(std::string_view table, const kernel::iptables::LineSink& line) override {
        return timed([&] { return programs_->save(table, line); });
    }
    [[nodiscard]] Result<kernel::iptables::Refused> restore(const kernel::iptables::TextSource& text) override {
        return timed([&] { return programs_->restore(text); });
    }
    [[nodiscard]] Result<bool> has_chain(std::string_view table, std::string_view chain) override {
        return timed([&] { return programs_->has_chain(table, chain); });
    }

  private:
    const std::unique_ptr<Iptables> programs_;
    const std::shared_ptr<Clock::duration> total_;
};

// As open_dataplane() of the mode does it.
Result<std::unique_ptr<dataplane::Dataplane>> open_iptables(net::Family family, const dataplane::Options& options,
                                                            const std::shared_ptr<Clock::duration>& programs) {
    ASSIGN_OR_RETURN(const auto variant, dataplane::iptables::choose_variant(options));
    ASSIGN_OR_RETURN(auto iptables, kernel::iptables::LinuxIptables::open(variant, family));
    IptablesDataplane::Host host;
    host.iptables = std::make_unique<TimedIptables>(std::move(iptables), programs);
    host.sysctl = std::make_unique<kernel::sysctl::LinuxSysctl>();
    if (auto counters = kernel::nfacct::LinuxNfacct::open()) host.counters = std::move(*counters);
    return std::unique_ptr<dataplane::Dataplane>(std::make_unique<IptablesDataplane>(std::move(host)));
}

}  // namespace

Result<TimedDataplane> TimedDataplane::open(const dataplane::Mode& mode, net::Family family,
                                            const dataplane::Options& options) {
    if (mode.name != dataplane::iptables::mode().name) {
        ASSIGN_OR_RETURN(auto dataplane, mode.open(family, options));
        return TimedDataplane(std::move(dataplane), nullptr);
    }
    auto programs = std::make_shared<Clock::duration>();
    ASSIGN_OR_RETURN(auto dataplane, open_iptables(family, options, programs));
    return TimedDataplane(std::move(dataplane), std::move(programs));
}

template <typename Call>
Result<TimedCall> TimedDataplane::timed(const Call& call) {
    const auto before = programs_ ? *programs_ : Clock::duration{};
    const auto begin = Clock::now();
    ASSIGN_OR_RETURN(const dataplane::Outcome outcome, call());
    const auto wall = Clock::now() - begin;
    auto others = programs_ ? *programs_ - before : Clock::duration{};
    if (!programs_)
        for (const auto time : outcome.transaction_times) others += time;
    return TimedCall{milliseconds(wall), milliseconds(wall - others)};
}

Result<TimedCall> TimedDataplane::reconcile(const plan::Plan& plan) {
    return timed([&] { return dataplane_->reconcile(plan); });
}

Result<TimedCall> TimedDataplane::apply(const plan::Delta& delta) {
    return timed([&] { return dataplane_->apply(delta); });
}

}  // namespace ghostip::bench

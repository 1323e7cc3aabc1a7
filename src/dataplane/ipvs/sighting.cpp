#include "dataplane/ipvs/sighting.h"

#include <algorithm>

#include <fmt/format.h>

#include "dataplane/iptables_variant.h"
#include "dataplane/ipvs/dataplane.h"
#include "dataplane/ipvs/observed.h"

namespace ghostip::dataplane::ipvs {
namespace {

class Reader {
  public:
    Reader(const Kernel& kernel, const plan::Plan& plan, const plan::Journey& journey, const IpvsOptions& options)
        : kernel_(kernel), plan_(plan), journey_(journey), options_(options) {}

    Result<Sighting> read() {
        ASSIGN_OR_RETURN(observed_, observe(kernel_, plan_.family));
        const auto& flow = journey_.flow;
        const kernel::ipvs::ServiceKey dialled{flow.destination, flow.protocol, flow.port, 0};
        const Front* front = nullptr;
        std::vector<Front> fronts;
        if (journey_.destination && journey_.service_port) {
            fronts = render_fronts(*journey_.service_port, {plan_.node, plan_.family, options_, limits_});
            for (const auto& one : fronts)
                if (one.key == journey_.destination->key) front = &one;
        }
        if (front == nullptr) {
            if (observed_.services.contains(dialled)) {
                RETURN_IF_ERROR(show(dialled));
                if (observed_.is_ours(dialled))
                    differ("there is a virtual server {}, which the plan has not", text(dialled));
            }
            return std::move(seen_);
        }
        look_at_entries(*front);
        RETURN_IF_ERROR(look_at_server(*front, dialled));
        if (front->short_circuit.empty() || journey_.source_class == plan::SourceClass::kOutside)
            return std::move(seen_);
        look_at_short_circuit(*front);
        for (const auto& one : fronts)
            if (one.kind == plan::DestinationKind::kClusterIp && journey_.verdict == plan::Verdict::kBalanced)
                RETURN_IF_ERROR(look_at_server(one, one.servers.front().service.key));
        return std::move(seen_);
    }

  private:
    template <typename... Arguments>
    void differ(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
        seen_.differences.push_back(fmt::format(format, std::forward<Arguments>(arguments)...));
    }

    Result<std::vector<kernel::ipvs::Destination>> show(const kernel::ipvs::ServiceKey& key) {
        const auto& service = observed_.services.at(key);
        std::string line = fmt::format("virtual server {} scheduler {}", text(key), service.scheduler);
        if ((service.flags & kernel::ipvs::kPersistent) != 0)
            line += fmt::format(" persistent {} s", service.timeout_seconds);
        seen_.found.push_back(line);
        ASSIGN_OR_RETURN(auto behind, kernel_.ipvs->destinations(key));
        std::sort(behind.begin(), behind.end());
        for (const auto& one : behind)
            seen_.found.push_back(fmt::format("  -> {} weight {}, connections {} active, {} inactive",
                                              net::host_port(one.key.address, one.key.port), one.weight,
                                              one.connections.active, one.connections.inactive));
        return behind;
    }

    Result<void> look_at_server(const Front& front, const kernel::ipvs::ServiceKey& key) {
        const auto wanted = std::find_if(front.servers.begin(), front.servers.end(),
                                         [&](const auto& one) { return one.service.key == key; });
        if (wanted == front.servers.end()) return {};
        if (!observed_.services.contains(key)) {
            differ("the virtual server {} is missing", text(key));
            return {};
        }
        ASSIGN_OR_RETURN(const auto behind, show(key));
        auto service = observed_.services.at(key);
        if (service.scheduler != wanted->service.scheduler)
            differ("the virtual server {} has scheduler {}, not {}", text(key), service.scheduler,
                   wanted->service.scheduler);
        service.scheduler = wanted->service.scheduler;
        if (service != wanted->service) differ("the virtual server {} has other flags or another timeout", text(key));
        for (const auto& one : wanted->destinations) {
            const auto there =
                std::find_if(behind.begin(), behind.end(), [&](const auto& held) { return held.key == one.key; });
            const auto name = net::host_port(one.key.address, one.key.port);
            if (there == behind.end())
                differ("the virtual server {} lacks {}", text(key), name);
            else if (there->weight != one.weight)
                differ("{} has weight {} in the virtual server {}, not {}", name, there->weight, text(key), one.weight);
        }
        for (const auto& held : behind) {
            const bool planned = std::any_of(wanted->destinations.begin(), wanted->destinations.end(),
                                             [&](const auto& one) { return one.key == held.key; });
            if (!planned && held.weight != 0)
                differ("the virtual server {} has {}, which the plan has not", text(key),
                       net::host_port(held.key.address, held.key.port));
        }
        if (front.address && !observed_.bound.contains(*front.address))
            differ("device {} lacks the address {}", kDevice, front.address->text());
        return {};
    }

    void look_at_entries(const Front& front) {
        for (const auto& entry : front.entries) {
            const auto line = fmt::format("{} in set {}", kernel::ipset::text(row(entry.set).type, entry.element),
                                          set_name(entry.set, plan_.family));
            if (observed_.has(entry))
                seen_.found.push_back(line);
            else
                differ("there is no {}", line);
        }
    }

    void look_at_short_circuit(const Front& front) {
        const auto chain = observed_.rules.chains.find({tables::kNat, chains::kShortCircuit});
        const auto rule = front.short_circuit.substr(0, front.short_circuit.size() - 1);
        if (chain != observed_.rules.chains.end() && chain->second.find(front.short_circuit) != std::string::npos)
            seen_.found.push_back("nat: " + rule);
        else
            differ("table nat lacks the rule {}", rule);
    }

    const Kernel& kernel_;
    const plan::Plan& plan_;
    const plan::Journey& journey_;
    const IpvsOptions& options_;
    const Limits limits_;
    Observed observed_;
    Sighting seen_;
};

}  // namespace

Result<Sighting> sight(const Kernel& kernel, const plan::Plan& plan, const plan::Journey& journey,
                       const IpvsOptions& options) {
    return Reader(kernel, plan, journey, options).read();
}

Result<Sighting> sight(const plan::Plan& plan, const plan::Journey& journey, const Options& options) {
    ASSIGN_OR_RETURN(const auto variant, choose_variant(options));
    ASSIGN_OR_RETURN(const auto kernel, open_kernel(plan.family, variant));
    return sight(kernel, plan, journey, options.ipvs);
}

}  // namespace ghostip::dataplane::ipvs

#include "dataplane/nftables/sighting.h"

#include <algorithm>

#include <fmt/format.h>

#include "dataplane/listener_sighting.h"
#include "dataplane/nftables/element_changes.h"
#include "dataplane/nftables/element_text.h"
#include "dataplane/nftables/observed.h"
#include "dataplane/nftables/render_elements.h"
#include "dataplane/nftables/structure.h"
#include "kernel/nft/linux.h"

namespace ghostip::dataplane::nftables {
namespace {

using kernel::nft::Contents;
using kernel::nft::Elements;
using kernel::nft::Kernel;

// Sets that a packet to one destination is looked up in, in its order. Of each the whole key is known beforehand.
constexpr std::array<SetRole, 8> kByDestination{
    SetRole::kFilteredSources, SetRole::kExternalLocal,     SetRole::kExternalCluster, SetRole::kOwnEndpoints,
    SetRole::kAffinity,        SetRole::kNoEndpointsReject, SetRole::kNoEndpointsDrop, SetRole::kUpTo};

class Reader {
  public:
    Reader(Kernel& kernel, const plan::Plan& plan, const plan::Journey& journey)
        : kernel_(kernel), plan_(plan), journey_(journey), key_(key_of(journey)) {}

    Result<Sighting> read() {
        ASSIGN_OR_RETURN(const auto contents, kernel_.contents(table(plan_.family)));
        if (!contents) {
            differ("there is no table {}", kTableName);
            return std::move(seen_);
        }
        if (contents->flags != 0) differ("the table is dormant: no packet meets its chains");
        compare_chains(*contents);
        expect_elements();
        for (const auto& [name, set] : contents->sets)
            if (const auto ref = parse_set_name(name); ref && is_declared(*contents, declare(*ref))) sets_.insert(*ref);
        RETURN_IF_ERROR(look_at_dispatch());
        RETURN_IF_ERROR(look_at_endpoints());
        RETURN_IF_ERROR(look_at_the_rest());
        return std::move(seen_);
    }

  private:
    template <typename... Arguments>
    void differ(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
        seen_.differences.push_back(fmt::format(format, std::forward<Arguments>(arguments)...));
    }

    static plan::DestinationKey key_of(const plan::Journey& journey) {
        if (journey.destination) return journey.destination->key;
        return {false, journey.flow.destination, journey.flow.protocol, journey.flow.port};
    }

    void compare_chains(const Contents& contents) {
        const Classes classes = classes_in(contents, plan_.family);
        const auto structure = render_structure({plan_.family, plan_.node, classes});
        for (const auto& chain : structure.chains) {
            const auto there = contents.chains.find(chain.name);
            if (there == contents.chains.end())
                differ("chain {} is missing", chain.name);
            else if (!same_in_kernel(there->second, chain))
                differ("chain {} has other rules than it should have", chain.name);
        }
    }

    // What the plan has for this packet, with the pools' own order of slots.
    void expect_elements() {
        if (!journey_.service_port || !journey_.destination) return;
        plan::ServicePortPlan only = *journey_.service_port;
        only.destinations = {*journey_.destination};
        ElementList elements;
        render_elements(only, {only.cluster, only.local}, Counting::kOff, elements);
        if (journey_.destination->kind == plan::DestinationKind::kClusterIp) render_cluster_ip(key_.address, elements);
        if (key_.node_port) render_node(plan_.node, elements);
        for (const auto& endpoint : journey_.pool)
            if (const plan::Hairpin hairpin{endpoint.address, key_.protocol, endpoint.port};
                plan_.hairpins.contains(hairpin))
                render_hairpin(hairpin, elements);
        expected_ = elements.sorted();
    }

    [[nodiscard]] std::vector<ElementList::Element> expected_in(const SetRef& set) const {
        std::vector<ElementList::Element> in;
        for (const auto& element : expected_)
            if (element.set == set) in.push_back(element);
        return in;
    }

    static void append(Elements& to, std::span<const std::uint8_t> key) {
        to.key_bytes = static_cast<std::uint16_t>(key.size());
        to.bytes.insert(to.bytes.end(), key.begin(), key.end());
    }

    // The data of keys that are asked for does not count, but must have its room.
    [[nodiscard]] Result<Elements> look_up(const SetRef& set, const std::vector<KeyBytes>& keys,
                                           std::size_t data_bytes = 0) {
        Elements asked{set_name(set), 0, static_cast<std::uint16_t>(data_bytes), {}};
        for (const auto& key : keys) {
            append(asked, key.bytes());
            asked.bytes.resize(asked.bytes.size() + data_bytes);
        }
        return kernel_.look_up(table(plan_.family), declare(set), asked);
    }

    void found(const SetRef& set, std::span<const std::uint8_t> bytes) {
        seen_.found.push_back(fmt::format("{}: {}", set_name(set), element_text(set, bytes, plan_.family)));
    }

    [[nodiscard]] std::set<SetRef> sets_of(SetRole role) const {
        std::set<SetRef> some;
        for (const auto& set : sets_)
            if (set.role == role && is_node_port(set.lane) == key_.node_port) some.insert(set);
        for (const auto& element : expected_)
            if (element.set.role == role && !sets_.contains(element.set)) some.insert(element.set);
        return some;
    }

    Result<void> look_at_dispatch() {
        for (const auto role : kByDestination)
            for (const auto& set : sets_of(role)) {
                const bool wanted = !expected_in(set).empty();
                bool there = false;
                if (sets_.contains(set)) {
                    ASSIGN_OR_RETURN(const auto elements, look_up(set, {KeyBytes().destination(key_)}));
                    there = elements.count() != 0;
                    if (there) found(set, elements.at(0));
                }
                if (wanted && !there) differ("set {} lacks {}", set_name(set), key_.text());
                if (!wanted && there) differ("set {} has {}, which the plan has not", set_name(set), key_.text());
            }
        return {};
    }

    // Any order of the slots is right, but no hole and no stranger.
    Result<void> look_at_endpoints() {
        for (const auto& set : sets_of(SetRole::kEndpoints)) {
            std::vector<std::vector<std::uint8_t>> wanted;
            for (const auto& element : expected_in(set))
                wanted.emplace_back(element.data().begin(), element.data().end());
            std::vector<std::vector<std::uint8_t>> there;
            if (sets_.contains(set)) {
                // One more than there should be, to notice it.
                std::vector<KeyBytes> keys;
                for (std::uint32_t slot = 0; slot <= wanted.size(); ++slot)
                    keys.push_back(KeyBytes().destination(key_).number(slot));
                const std::size_t data_bytes =
                    KeyBytes().endpoint({net::IpAddress(plan_.family), 0, false}).bytes().size();
                ASSIGN_OR_RETURN(const auto elements, look_up(set, keys, data_bytes));
                for (std::size_t i = 0; i < elements.count(); ++i) {
                    const auto bytes = elements.at(i);
                    found(set, bytes);
                    const auto data = bytes.subspan(elements.key_bytes);
                    there.emplace_back(data.begin(), data.end());
                }
            }
            std::sort(wanted.begin(), wanted.end());
            std::sort(there.begin(), there.end());
            if (wanted != there)
                differ("map {} has {} endpoints for {}, not the {} that the plan has", set_name(set), there.size(),
                       key_.text(), wanted.size());
        }
        return {};
    }

    // Sets whose keys the plan alone tells: they can lack something, not have too much.
    Result<void> look_at_the_rest() {
        for (const auto& element : expected_) {
            const auto role = element.set.role;
            if (role == SetRole::kEndpoints ||
                std::find(kByDestination.begin(), kByDestination.end(), role) != kByDestination.end())
                continue;
            bool there = false;
            if (sets_.contains(element.set)) {
                Elements asked{set_name(element.set), 0, 0, {}};
                append(asked, element.key());
                ASSIGN_OR_RETURN(const auto elements,
                                 kernel_.look_up(table(plan_.family), declare(element.set), asked));
                there = elements.count() != 0;
            }
            if (there)
                found(element.set, element.key());
            else
                differ("set {} lacks {}", set_name(element.set),
                       element_text(element.set, element.key(), plan_.family));
        }
        return {};
    }

    Kernel& kernel_;
    const plan::Plan& plan_;
    const plan::Journey& journey_;
    const plan::DestinationKey key_;
    std::vector<ElementList::Element> expected_;
    std::set<SetRef> sets_;  // that are there as declared
    Sighting seen_;
};

}  // namespace

Result<Sighting> sight(Kernel& kernel, const plan::Plan& plan, const plan::Journey& journey) {
    return Reader(kernel, plan, journey).read();
}

Result<Sighting> sight(const plan::Plan& plan, const plan::Journey& journey, const Options& /*options*/) {
    // In this mode only localhost's node ports are, to which no rule leads.
    if (journey.relayed) return sight_localhost(journey, kernel::sockets::listeners_at);
    ASSIGN_OR_RETURN(const auto kernel, kernel::nft::LinuxKernel::open());
    return sight(*kernel, plan, journey);
}

Result<Leads> leads(Kernel& kernel, net::Family family, const plan::Destination* destination) {
    Leads found;
    ASSIGN_OR_RETURN(const auto contents, kernel.contents(table(family)));
    found.rules = contents.has_value();
    if (!found.rules || destination == nullptr) return found;
    const std::size_t address_bytes = kernel::nft::field_size(kernel::nft::Field::kAddress, family);
    for (const auto& lane : lanes_of(*destination)) {
        if (!lane) continue;
        const auto map = declare({SetRole::kEndpoints, lane->lane});
        if (!is_declared(*contents, map)) continue;
        const auto key = KeyBytes().destination(destination->key).number(0);
        const auto data_bytes = kernel::nft::fields_size(map.data, family);
        Elements asked{map.name,
                       static_cast<std::uint16_t>(key.bytes().size()),
                       static_cast<std::uint16_t>(data_bytes),
                       {key.bytes().begin(), key.bytes().end()}};
        asked.bytes.resize(asked.bytes.size() + data_bytes);
        ASSIGN_OR_RETURN(const auto there, kernel.look_up(table(family), map, asked));
        if (there.count() == 0) continue;
        const auto data = there.at(0).subspan(there.key_bytes);
        const auto port = data.subspan(address_bytes);
        found.leads.push_back({lane->scope, net::IpAddress::from_bytes(family, data.data()),
                               static_cast<std::uint16_t>(port[0] << 8U | port[1])});
    }
    return found;
}

Result<Leads> leads(net::Family family, const plan::Destination* destination) {
    ASSIGN_OR_RETURN(const auto kernel, kernel::nft::LinuxKernel::open());
    return leads(*kernel, family, destination);
}

}  // namespace ghostip::dataplane::nftables

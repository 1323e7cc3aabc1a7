// For tests: the dataplane on the twins of IPVS, ip_set, devices and iptables, and what they hold as text.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "dataplane/ipvs/dataplane.h"
#include "dataplane/ipvs/render.h"
#include "kernel/ipset/memory.h"
#include "kernel/iptables/memory.h"
#include "kernel/ipvs/memory.h"
#include "kernel/link/memory.h"
#include "plan/plan_testing.h"

namespace ghostip::dataplane::ipvs::testing {

using Lines = std::vector<std::string>;

// Speak to twins that somebody else owns, so that two processes may have the same kernel.
class BorrowedIpvs final : public kernel::ipvs::Ipvs {
  public:
    explicit BorrowedIpvs(Ipvs& twin) : twin_(twin) {}
    Result<kernel::ipvs::Info> info() override { return twin_.info(); }
    Result<std::vector<kernel::ipvs::Service>> services() override { return twin_.services(); }
    Result<bool> contains(const kernel::ipvs::ServiceKey& key) override { return twin_.contains(key); }
    Result<std::vector<kernel::ipvs::Destination>> destinations(const kernel::ipvs::ServiceKey& key) override {
        return twin_.destinations(key);
    }
    Result<std::vector<kernel::ipvs::Refusal>> apply(std::span<const kernel::ipvs::Command> commands) override {
        return twin_.apply(commands);
    }
    Result<kernel::ipvs::Timeouts> timeouts() override { return twin_.timeouts(); }
    Result<void> set_timeouts(const kernel::ipvs::Timeouts& timeouts) override { return twin_.set_timeouts(timeouts); }

  private:
    Ipvs& twin_;
};

class BorrowedSets final : public kernel::ipset::Sets {
  public:
    explicit BorrowedSets(Sets& twin) : twin_(twin) {}
    Result<void> create(const kernel::ipset::Definition& definition) override { return twin_.create(definition); }
    Result<std::vector<kernel::ipset::Header>> headers() override { return twin_.headers(); }
    Result<std::optional<kernel::ipset::Contents>> contents(const std::string& name) override {
        return twin_.contents(name);
    }
    Result<std::vector<kernel::ipset::Refusal>> add(const std::string& name, kernel::ipset::Type type,
                                                    std::span<const kernel::ipset::Element> elements) override {
        return twin_.add(name, type, elements);
    }
    Result<std::vector<kernel::ipset::Refusal>> remove(const std::string& name, kernel::ipset::Type type,
                                                       std::span<const kernel::ipset::Element> elements) override {
        return twin_.remove(name, type, elements);
    }
    Result<void> swap(const std::string& one, const std::string& other) override { return twin_.swap(one, other); }
    Result<bool> destroy(const std::string& name) override { return twin_.destroy(name); }

  private:
    Sets& twin_;
};

class BorrowedLinks final : public kernel::link::Links {
  public:
    explicit BorrowedLinks(Links& twin) : twin_(twin) {}
    Result<std::optional<kernel::link::Device>> find(const std::string& name) override { return twin_.find(name); }
    Result<void> create_dummy(const std::string& name) override { return twin_.create_dummy(name); }
    Result<bool> delete_dummy(const std::string& name) override { return twin_.delete_dummy(name); }
    Result<std::vector<kernel::link::DeviceAddress>> addresses() override { return twin_.addresses(); }
    Result<std::vector<kernel::link::Refusal>> add_addresses(const std::string& dummy,
                                                             std::span<const net::IpAddress> addresses) override {
        return twin_.add_addresses(dummy, addresses);
    }
    Result<std::vector<kernel::link::Refusal>> remove_addresses(const std::string& dummy,
                                                                std::span<const net::IpAddress> addresses) override {
        return twin_.remove_addresses(dummy, addresses);
    }

  private:
    Links& twin_;
};

class BorrowedIptables final : public kernel::iptables::Iptables {
  public:
    explicit BorrowedIptables(Iptables& twin) : twin_(twin) {}
    using Iptables::restore;
    net::Family family() const override { return twin_.family(); }
    kernel::iptables::Variant variant() const override { return twin_.variant(); }
    kernel::iptables::Version version() const override { return twin_.version(); }
    Result<void> save(std::string_view table, const kernel::iptables::LineSink& line) override {
        return twin_.save(table, line);
    }
    Result<kernel::iptables::Refused> restore(const kernel::iptables::TextSource& text) override {
        return twin_.restore(text);
    }
    Result<bool> has_chain(std::string_view table, std::string_view chain) override {
        return twin_.has_chain(table, chain);
    }

  private:
    Iptables& twin_;
};

// The kernel of one node, of which `family` is looked at. Its own addresses are those of plan_testing.h.
struct Machine {
    explicit Machine(net::Family the_family = net::Family::kIpv4)
        : family(the_family), iptables(kernel::iptables::Variant::kLegacy, the_family) {
        links.add_device({"eth0", "", true});
        for (const auto& address : plan::testing::host_facts().addresses)
            links.add_address({"eth0", address, address.is_ipv4() ? 24 : 64});
    }

    [[nodiscard]] Kernel open() {
        return {std::make_unique<BorrowedIpvs>(ipvs), std::make_unique<BorrowedSets>(sets),
                std::make_unique<BorrowedLinks>(links), std::make_unique<BorrowedIptables>(iptables)};
    }

    [[nodiscard]] Lines servers() {
        Lines lines;
        auto states = ipvs.contents().value();
        for (auto& state : states) {
            std::sort(state.destinations.begin(), state.destinations.end());
            lines.push_back(text(Server{state.service, state.destinations}));
        }
        std::sort(lines.begin(), lines.end());
        return lines;
    }
    [[nodiscard]] Lines elements() {
        Lines lines;
        const auto headers = sets.headers().value();
        for (const auto& header : headers) {
            if (!header.type) continue;
            const auto contents = sets.contents(header.name).value();
            for (const auto& element : contents->elements)
                lines.push_back(header.name + " " + kernel::ipset::text(*header.type, element));
        }
        std::sort(lines.begin(), lines.end());
        return lines;
    }
    [[nodiscard]] Lines bound() {
        Lines lines;
        const auto addresses = links.addresses().value();
        for (const auto& one : addresses)
            if (one.device == kDevice) lines.push_back(one.address.text());
        std::sort(lines.begin(), lines.end());
        return lines;
    }
    [[nodiscard]] Lines rules() const {
        Lines lines;
        for (const char* table : tables::kAll)
            for (const auto& line : iptables.saved(table)) lines.push_back(std::string(table) + ": " + line);
        return lines;
    }
    // Everything, without destinations of weight 0: they may wait for their connections.
    [[nodiscard]] Lines all() {
        Lines lines;
        for (const auto& part : {servers(), elements(), bound(), rules()})
            lines.insert(lines.end(), part.begin(), part.end());
        return lines;
    }

    // Uses up what is still to fail of the next few calls.
    void forget_failures() {
        for (int i = 0; i < 10; ++i) {
            static_cast<void>(ipvs.info());
            static_cast<void>(sets.headers());
            static_cast<void>(links.addresses());
        }
        iptables.fail_calls(0, 0);
        ipvs.forget_refusals();
    }

    net::Family family;
    kernel::ipvs::MemoryIpvs ipvs;
    kernel::ipset::MemorySets sets;
    kernel::link::MemoryLinks links;
    kernel::iptables::MemoryIptables iptables;
};

// A process on it.
struct OnMachine {
    explicit OnMachine(Machine& the_machine, IpvsOptions options = {})
        : machine(the_machine), dataplane({the_machine.open(), the_machine.open()}, std::move(options)) {}

    [[nodiscard]] Result<Outcome> reconcile(const plan::Plan& plan) { return dataplane.reconcile(plan); }
    [[nodiscard]] Result<Outcome> apply(const plan::Delta& delta) { return dataplane.apply(delta); }
    [[nodiscard]] Result<Outcome> look_and_check(const plan::Plan& plan) {
        ASSIGN_OR_RETURN(const auto sight, dataplane.look(plan)());
        return dataplane.check(plan, sight);
    }

    Machine& machine;
    IpvsDataplane dataplane;
};

class IpvsPlanner : public plan::testing::NodePlanner {
  public:
    explicit IpvsPlanner(plan::NodeSettings settings = plan::testing::node_settings(),
                         net::Family family = net::Family::kIpv4)
        : NodePlanner(family, std::move(settings), plan::ipvs_profile()) {}
};

}  // namespace ghostip::dataplane::ipvs::testing

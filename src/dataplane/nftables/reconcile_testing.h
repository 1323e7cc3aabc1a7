// For tests: a cluster of numbered Services, what of it stands in sets, and what the kernel would tell of a foreign
// write.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "dataplane/nftables/dataplane_testing.h"
#include "dataplane/nftables/render_elements.h"
#include "kernel/nft/foreign_write.h"
#include "kernel/nft/kernel.h"
#include "plan/plan_testing.h"

namespace ghostip::dataplane::nftables::testing {

inline constexpr int kServices = 30;

inline std::string cluster_ip(int number) { return "172.30.0." + std::to_string(number); }

inline api::Service numbered(int number, std::string_view address) {
    return plan::testing::service(
        "s" + std::to_string(number), address,
        {plan::testing::service_port("p", 80, net::Protocol::kTcp), plan::testing::service_port("q", 81)});
}
inline api::EndpointSlice endpoints(int number, const std::vector<int>& hosts) {
    std::vector<plan::testing::Ep> eps;
    for (const int host : hosts)
        eps.push_back({"10.180." + std::to_string(number) + "." + std::to_string(host), "r", "test-node"});
    return plan::testing::slice("s" + std::to_string(number), "s" + std::to_string(number),
                                {plan::testing::slice_port("p", 8080), plan::testing::slice_port("q", 8081)}, eps);
}

// A cluster of some services, planned.
struct Cluster {
    Cluster() {
        std::vector<api::Change> changes{
            plan::testing::put(api::ServiceCidr{"c", plan::testing::cidrs({"172.30.0.0/16"})})};
        for (int i = 1; i <= kServices; ++i) {
            changes.push_back(plan::testing::put(numbered(i, cluster_ip(i))));
            changes.push_back(plan::testing::put(endpoints(i, {1, 2, 3})));
        }
        static_cast<void>(planner.apply(changes));
    }
    [[nodiscard]] plan::Plan plan() const { return planner.plan(); }
    plan::testing::NodePlanner planner;
};

inline std::vector<std::uint8_t> bytes_of(const plan::DestinationKey& key) {
    const KeyBytes bytes = KeyBytes().destination(key);
    return {bytes.bytes().begin(), bytes.bytes().end()};
}
inline plan::DestinationKey destination(int number, std::uint16_t port = 80) {
    return {false, plan::testing::ip(cluster_ip(number)), net::Protocol::kTcp, port};
}

inline kernel::nft::Elements first_elements(const OnTwin& place, const std::string& set, std::size_t count) {
    const auto& state = place.state().sets.at(set);
    kernel::nft::Elements elements{set, 0, 0, {}};
    for (const auto& [key, data] : state.elements) {
        if (count-- == 0) break;
        elements.key_bytes = static_cast<std::uint16_t>(key.size());
        elements.data_bytes = static_cast<std::uint16_t>(data.size());
        elements.bytes.insert(elements.bytes.end(), key.begin(), key.end());
        elements.bytes.insert(elements.bytes.end(), data.begin(), data.end());
    }
    return elements;
}

// What the kernel would tell of a foreign batch.
inline ForeignWrite told(const kernel::nft::Batch& batch) {
    kernel::nft::ForeignWrite write;
    write.family = batch.table.family;
    for (const auto& operation : batch.operations) {
        const auto* add = std::get_if<kernel::nft::AddElements>(&operation);
        const auto* remove = std::get_if<kernel::nft::DeleteElements>(&operation);
        write.table = write.table || std::holds_alternative<kernel::nft::DeleteTable>(operation);
        write.structure = write.structure || (add == nullptr && remove == nullptr);
        const kernel::nft::Elements* elements = add != nullptr      ? &add->elements
                                                : remove != nullptr ? &remove->elements
                                                                    : nullptr;
        for (std::size_t i = 0; elements != nullptr && i < elements->count(); ++i) {
            const auto key = elements->at(i).first(elements->key_bytes);
            write.elements.push_back(
                {elements->set,
                 {key.begin(), key.end()},
                 add != nullptr ? kernel::nft::Touched::How::kAdded : kernel::nft::Touched::How::kDeleted});
        }
    }
    ForeignWrite out;
    out.family = write.family;
    out.where = std::make_shared<const kernel::nft::ForeignWrite>(std::move(write));
    return out;
}

}  // namespace ghostip::dataplane::nftables::testing

#include "dataplane/ipvs/sets.h"

#include <cerrno>

#include <fmt/format.h>

namespace ghostip::dataplane::ipvs {
namespace {

constexpr std::uint32_t kMostOfKubeProxy = 1U << 16;
constexpr std::uint32_t kMost = 1U << 20;

// For one of the same name that has room for `most`, filled first.
Result<void> exchange(kernel::ipset::Sets& sets, const kernel::ipset::Contents& held, const SetRow& row,
                      net::Family family, std::uint32_t most) {
    auto other = definition(row.set, family);
    const auto name = other.name;
    if (held.header.type != other.type || (held.header.family && held.header.family != other.family))
        return Error{fmt::format("there is another set called {}, of type {}", name, held.header.type_name), EEXIST};
    other.name = spare_set_name(family);
    other.most_elements = most;
    RETURN_IF_ERROR(sets.destroy(other.name));
    RETURN_IF_ERROR(sets.create(other));
    const auto done = [&]() -> Result<void> {
        ASSIGN_OR_RETURN(const auto refused, sets.add(other.name, other.type, held.elements));
        if (!refused.empty()) return refused.front().error;
        return sets.swap(name, other.name);
    }();
    const auto destroyed = sets.destroy(other.name);
    RETURN_IF_ERROR(done);
    if (!destroyed) return destroyed.error();
    return {};
}

Result<kernel::ipset::Contents> contents_of(kernel::ipset::Sets& sets, const std::string& name) {
    ASSIGN_OR_RETURN(auto held, sets.contents(name));
    if (!held) return Error{fmt::format("set {} went while it was looked at", name), ENOENT};
    return *std::move(held);
}

}  // namespace

kernel::ipset::Definition definition(Set set, net::Family family) {
    const bool has_kube_proxy = row(set).name.starts_with("KUBE-");
    return {set_name(set, family), row(set).type, family, 1024, has_kube_proxy ? kMostOfKubeProxy : kMost};
}

Result<void> ensure_sets(kernel::ipset::Sets& sets, net::Family family) {
    for (const auto& row : set_rows()) {
        const auto wanted = definition(row.set, family);
        const auto created = sets.create(wanted);
        if (created) continue;
        if (created.error().code != EEXIST) return created.error();
        ASSIGN_OR_RETURN(const auto held, contents_of(sets, wanted.name));
        const auto most = held.elements.size() > wanted.most_elements ? kMost : wanted.most_elements;
        if (held.header.type == wanted.type && held.header.most_elements == most) continue;
        RETURN_IF_ERROR(exchange(sets, held, row, family, most));
    }
    return {};
}

Result<void> widen(kernel::ipset::Sets& sets, Set set, net::Family family) {
    ASSIGN_OR_RETURN(const auto held, contents_of(sets, set_name(set, family)));
    return exchange(sets, held, row(set), family, kMost);
}

}  // namespace ghostip::dataplane::ipvs

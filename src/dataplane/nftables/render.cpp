#include "dataplane/nftables/render.h"

#include <cstring>

#include <fmt/format.h>

#include "dataplane/nftables/dataplane.h"
#include "dataplane/nftables/element_text.h"

namespace ghostip::dataplane::nftables {
namespace {

using kernel::nft::Elements;

std::string elements_text(const kernel::nft::Set& set, const Elements& elements, net::Family family) {
    std::string text;
    for (std::size_t i = 0; i < elements.count(); ++i)
        text += (i == 0 ? "\t\telements = { " : ",\n\t\t\t     ") + element_text(set, elements.at(i), family);
    return text.empty() ? text : text + " }\n";
}

}  // namespace

std::string render(const plan::Plan& plan) { return render(plan, Counting::kOff); }

std::string render(const plan::Plan& plan, Counting counting) {
    const kernel::nft::Batch batch = NftablesDataplane::full_batch(plan, counting);
    const auto family = plan.family;
    std::map<std::string, const Elements*> elements;
    std::map<std::string, kernel::nft::Chain> chains;
    std::vector<std::string> order;
    std::vector<const kernel::nft::Set*> sets;
    for (const auto& operation : batch.operations) {
        if (const auto* set = std::get_if<kernel::nft::AddSet>(&operation)) sets.push_back(&set->set);
        if (const auto* add = std::get_if<kernel::nft::AddElements>(&operation))
            elements[add->elements.set] = &add->elements;
        if (const auto* chain = std::get_if<kernel::nft::AddChain>(&operation)) {
            chains[chain->name] = {chain->name, chain->base, {}};
            order.push_back(chain->name);
        }
        if (const auto* rule = std::get_if<kernel::nft::AddRule>(&operation))
            chains[rule->chain].rules.push_back(rule->rule);
    }
    std::string text = fmt::format("table {} {} {{\n\tcomment \"{}\"\n", family == net::Family::kIpv4 ? "ip" : "ip6",
                                   batch.table.name, batch.table.comment);
    for (const auto* set : sets) {
        std::string declaration = kernel::nft::to_text(*set, family);
        if (const auto found = elements.find(set->name); found != elements.end())
            declaration.insert(declaration.size() - std::strlen("\t}\n"), elements_text(*set, *found->second, family));
        text += "\n" + declaration;
    }
    for (const auto& name : order) text += "\n" + kernel::nft::to_text(chains[name]);
    return text + "}\n";
}

}  // namespace ghostip::dataplane::nftables

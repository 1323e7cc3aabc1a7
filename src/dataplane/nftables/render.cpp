#include "dataplane/nftables/render.h"

#include <cstring>

#include <fmt/format.h>

#include "dataplane/nftables/dataplane.h"

namespace ghostip::dataplane::nftables {
namespace {

using kernel::nft::Elements;
using kernel::nft::Field;
using Bytes = std::span<const std::uint8_t>;

std::string field_text(Field field, Bytes bytes, net::Family family) {
    switch (field) {
        case Field::kAddress: return net::IpAddress::from_bytes(family, bytes.data()).text();
        case Field::kProtocol: return std::string(net::protocol_lower_name(static_cast<net::Protocol>(bytes[0])));
        case Field::kPort: return fmt::format("{}", bytes[0] << 8 | bytes[1]);
        case Field::kNumber: {
            std::uint32_t number = 0;
            std::memcpy(&number, bytes.data(), sizeof number);
            return fmt::format("{}", number);
        }
    }
    return "?";
}

std::string fields_text(const std::vector<Field>& fields, Bytes bytes, net::Family family) {
    std::string text;
    for (const Field field : fields) {
        if (!text.empty()) text += " . ";
        text += field_text(field, bytes, family);
        bytes = bytes.subspan(kernel::nft::field_size(field, family));
    }
    return text;
}

std::string elements_text(const kernel::nft::Set& set, const Elements& elements, net::Family family) {
    std::string text;
    for (std::size_t i = 0; i < elements.count(); ++i) {
        const auto element = elements.at(i);
        text += fmt::format("{}{}", i == 0 ? "\t\telements = { " : ",\n\t\t\t     ",
                            fields_text(set.key, element.first(elements.key_bytes), family));
        if (elements.data_bytes != 0)
            text += " : " + fields_text(set.data, element.subspan(elements.key_bytes), family);
    }
    return text.empty() ? text : text + " }\n";
}

}  // namespace

std::string render(const plan::Plan& plan) {
    const kernel::nft::Batch batch = NftablesDataplane::full_batch(plan);
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

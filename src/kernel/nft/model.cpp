#include "kernel/nft/model.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ghostip::kernel::nft {
namespace {

std::string_view type_text(Field field, net::Family family) {
    switch (field) {
        case Field::kAddress: return family == net::Family::kIpv4 ? "ipv4_addr" : "ipv6_addr";
        case Field::kProtocol: return "inet_proto";
        case Field::kPort: return "inet_service";
        case Field::kNumber: break;  // has no name
    }
    return "?";
}

std::string_view typeof_text(Field field, net::Family family) {
    switch (field) {
        case Field::kAddress: return family == net::Family::kIpv4 ? "ip daddr" : "ip6 daddr";
        case Field::kProtocol: return "meta l4proto";
        case Field::kPort: return "th dport";
        case Field::kNumber: return "numgen random mod 1";
    }
    return "?";
}

std::string fields_text(const std::vector<Field>& fields, net::Family family, bool by_name) {
    std::vector<std::string_view> parts;
    std::transform(fields.begin(), fields.end(), std::back_inserter(parts),
                   [&](Field field) { return by_name ? type_text(field, family) : typeof_text(field, family); });
    return fmt::format("{}", fmt::join(parts, " . "));
}

std::string_view hook_text(Hook hook) {
    switch (hook) {
        case Hook::kPrerouting: return "prerouting";
        case Hook::kInput: return "input";
        case Hook::kForward: return "forward";
        case Hook::kOutput: return "output";
        case Hook::kPostrouting: return "postrouting";
    }
    return "?";
}

}  // namespace

std::size_t field_size(Field field, net::Family family) {
    return field == Field::kAddress && family == net::Family::kIpv6 ? 16 : 4;
}

std::size_t fields_size(const std::vector<Field>& fields, net::Family family) {
    std::size_t size = 0;
    for (const Field field : fields) size += field_size(field, family);
    return size;
}

std::size_t stored_size(const std::vector<Field>& fields, net::Family family) {
    if (fields.size() != 1) return fields_size(fields, family);
    switch (fields[0]) {
        case Field::kProtocol: return 1;
        case Field::kPort: return 2;
        default: return field_size(fields[0], family);
    }
}

bool same_in_kernel(const Rule& a, const Rule& b) { return a.expressions == b.expressions && a.comment == b.comment; }

bool same_in_kernel(const Chain& a, const Chain& b) {
    return a.base == b.base &&
           std::equal(a.rules.begin(), a.rules.end(), b.rules.begin(), b.rules.end(),
                      [](const Rule& one, const Rule& other) { return same_in_kernel(one, other); });
}

std::string to_text(const Set& set, net::Family family) {
    // As nft lists it: by the names of types, but for a number, which has none.
    const bool by_name = std::find(set.key.begin(), set.key.end(), Field::kNumber) == set.key.end();
    std::string text = fmt::format("\t{} {} {{\n\t\t{} {}", set.data.empty() ? "set" : "map", set.name,
                                   by_name ? "type" : "typeof", fields_text(set.key, family, by_name));
    if (!set.data.empty()) text += fmt::format(" : {}", fields_text(set.data, family, by_name));
    text += "\n";
    if (set.size != 0) text += fmt::format("\t\tsize {}\n", set.size);
    if (set.timeout_seconds != 0)
        text += fmt::format("\t\tflags dynamic,timeout\n\t\ttimeout {}s\n", set.timeout_seconds);
    if (set.counts) text += "\t\tcounter\n";
    if (!set.comment.empty()) text += fmt::format("\t\tcomment \"{}\"\n", set.comment);
    return text + "\t}\n";
}

std::string to_text(const Chain& chain) {
    std::string text = fmt::format("\tchain {} {{\n", chain.name);
    if (chain.base)
        text += fmt::format("\t\ttype {} hook {} priority {}; policy accept;\n",
                            chain.base->type == ChainType::kNat ? "nat" : "filter", hook_text(chain.base->hook),
                            chain.base->priority);
    for (const auto& rule : chain.rules) {
        text += "\t\t" + rule.text;
        if (!rule.comment.empty()) text += fmt::format(" comment \"{}\"", rule.comment);
        text += "\n";
    }
    return text + "\t}\n";
}

}  // namespace ghostip::kernel::nft

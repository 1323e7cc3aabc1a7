#include "dataplane/iptables/edit.h"

#include <algorithm>

namespace ghostip::dataplane::iptables {
namespace {

bool holds(const std::vector<Dispatch>& list, const Dispatch& rule) {
    return std::find(list.begin(), list.end(), rule) != list.end();
}

}  // namespace

std::string_view table_of(Part part) { return part == Part::kNat ? tables::kNat : tables::kFilter; }

bool Edit::empty() const {
    return std::all_of(parts.begin(), parts.end(), [](const auto& part) { return part.empty(); });
}

Edit& Edit::operator+=(const Edit& other) {
    for (std::size_t i = 0; i < kParts; ++i) parts[i] += other.parts[i];
    return *this;
}

void declare_chain(std::string& text, std::string_view chain) { text.append(":").append(chain).append(" - [0:0]\n"); }

void write_chain(Edit& edit, const Chain& chain) {
    std::string& text = edit.in(chain.table == tables::kNat ? Part::kNat : Part::kFilterIn);
    declare_chain(text, chain.name);
    text += chain.rules;
}

void insert_rule(Edit& edit, const Dispatch& rule) {
    edit.in(table_of(rule.place) == tables::kNat ? Part::kNat : Part::kFilterIn)
        .append("-I ")
        .append(chain_of(rule.place))
        .append(rule.rule)
        .append("\n");
}

void delete_rule(Edit& edit, Place place, std::string_view rule) {
    edit.in(table_of(place) == tables::kNat ? Part::kNat : Part::kFilterOut)
        .append("-D ")
        .append(chain_of(place))
        .append(rule)
        .append("\n");
}

void append_rule(Edit& edit, Part part, std::string_view chain, std::string_view rule) {
    edit.in(part).append("-A ").append(chain).append(rule).append("\n");
}

void remove_chain(Edit& edit, std::string_view table, std::string_view chain) {
    std::string& text = edit.in(table == tables::kNat ? Part::kNat : Part::kFilterOut);
    declare_chain(text, chain);  // the kernel only lets go of empty ones
    text.append("-X ").append(chain).append("\n");
}

Edit edit_between(const Rules& before, const Rules& after) {
    Edit edit;
    for (const auto& chain : after.chains) {
        const auto* known = before.find(chain.table, chain.name);
        if (known == nullptr || known->rules != chain.rules) write_chain(edit, chain);
    }
    // Each goes to the head, so that the last one in the list comes first here.
    for (auto rule = after.dispatch.rbegin(); rule != after.dispatch.rend(); ++rule)
        if (!holds(before.dispatch, *rule)) insert_rule(edit, *rule);
    for (const auto& rule : before.dispatch)
        if (!holds(after.dispatch, rule)) delete_rule(edit, rule.place, rule.rule);
    // They may lead to each other: all of them are empty before the first is removed.
    std::string& nat = edit.in(Part::kNat);
    std::string removed;
    for (const auto& chain : before.chains) {
        if (chain.table != tables::kNat || after.find(chain.table, chain.name) != nullptr) continue;
        declare_chain(nat, chain.name);
        removed.append("-X ").append(chain.name).append("\n");
    }
    nat += removed;
    return edit;
}

LineCounts count_lines(std::string_view text) {
    LineCounts counts;
    while (!text.empty()) {
        ++counts.lines;
        if (text.starts_with("-A ") || text.starts_with("-I ")) ++counts.brought;
        if (text.starts_with("-D ")) ++counts.taken;
        const auto end = text.find('\n');
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return counts;
}

std::size_t EditCounts::lines() const {
    std::size_t count = 0;
    for (const auto& part : parts) count += part.lines;
    return count;
}

EditCounts count_edit(const Edit& edit) {
    EditCounts counts;
    for (std::size_t i = 0; i < kParts; ++i) counts.parts[i] = count_lines(edit.parts[i]);
    return counts;
}

}  // namespace ghostip::dataplane::iptables

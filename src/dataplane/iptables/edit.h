// The lines that make the rules of one owner what they should be. What a change is written in: in one text for
// iptables-restore, three tables one behind the other.
//
// First refusals that come (filter), then what answers (nat), then refusals that go (filter): refusals only match what
// nat has left alone, so that at every moment somebody is answered or refused, and never falls between.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "dataplane/iptables/rules.h"

namespace ghostip::dataplane::iptables {

enum class Part : std::uint8_t { kFilterIn, kNat, kFilterOut };
inline constexpr std::size_t kParts = 3;
[[nodiscard]] std::string_view table_of(Part part);

struct Edit {
    std::array<std::string, kParts> parts;

    [[nodiscard]] std::string& in(Part part) { return parts[static_cast<std::size_t>(part)]; }
    [[nodiscard]] const std::string& in(Part part) const { return parts[static_cast<std::size_t>(part)]; }
    [[nodiscard]] bool empty() const;
    Edit& operator+=(const Edit& other);
};

// The least that leads from one to the other; a chain is written as a whole or not at all.
[[nodiscard]] Edit edit_between(const Rules& before, const Rules& after);

// The words of an edit.
void write_chain(Edit& edit, const Chain& chain);                                        // makes or replaces it
void insert_rule(Edit& edit, const Dispatch& rule);                                      // at the head
void delete_rule(Edit& edit, Place place, std::string_view rule);                        // by what it says
void append_rule(Edit& edit, Part part, std::string_view chain, std::string_view rule);  // at the end
void remove_chain(Edit& edit, std::string_view table, std::string_view chain);  // that nobody jumps to any more

void declare_chain(std::string& text, std::string_view chain);  // makes or empties it

// A chain of nat that the edit of a unit declares.
struct DeclaredChain {
    std::size_t unit;
    std::string name;
};
// Gives them one by one; absent: that was the last.
using ChainSource = std::function<std::optional<DeclaredChain>()>;

// What a text has, and the rules that it brings and takes one by one; those of a chain that is written anew count as
// brought.
struct LineCounts {
    std::uint32_t lines = 0;
    std::uint32_t brought = 0;
    std::uint32_t taken = 0;

    friend bool operator==(const LineCounts&, const LineCounts&) = default;
};
[[nodiscard]] LineCounts count_lines(std::string_view text);

struct EditCounts {
    std::array<LineCounts, kParts> parts;

    [[nodiscard]] LineCounts& in(Part part) { return parts[static_cast<std::size_t>(part)]; }
    [[nodiscard]] const LineCounts& in(Part part) const { return parts[static_cast<std::size_t>(part)]; }
    [[nodiscard]] std::size_t lines() const;
    friend bool operator==(const EditCounts&, const EditCounts&) = default;
};
[[nodiscard]] EditCounts count_edit(const Edit& edit);

}  // namespace ghostip::dataplane::iptables

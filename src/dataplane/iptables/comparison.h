// What the kernel holds, compared with what it should hold, while iptables-save speaks: neither side is ever kept as a
// whole. Of each expected chain and rule only a fingerprint of its text is remembered (64 bits), of what the kernel has
// and should not have the text itself.
//
// Rules are compared as iptables-save 1.8.9 prints them; where that differs, by what they mean. May be used on a thread
// of its own, with its own Iptables.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "dataplane/iptables/chain_id.h"
#include "dataplane/iptables/edit.h"
#include "dataplane/iptables/render_fixed.h"
#include "kernel/iptables/iptables.h"

namespace ghostip::dataplane::iptables {

// A unit that lacks something, with what its edit will be.
struct Lacking {
    std::size_t unit;
    EditCounts counts;
};

// Service ports that are not compared: whatever the kernel has of them stays, and is collected.
struct Kept {
    std::string name;  // as in comments
    Rules landed;
};
using KeptUnits = std::map<std::size_t, Kept>;

class Comparison {
  public:
    // The rules of a unit (a service port), whose chains are all in nat; they may not change while this lives.
    // `comments` as in Context.
    using RulesOf = std::function<Rules(std::size_t unit, bool comments)>;

    // `endpoints`: about how many there are, so that memory is asked for once. `kept`: units by number, with their
    // names and hashes.
    Comparison(const Context& context, std::size_t units, std::size_t endpoints, RulesOf rules_of,
               const std::map<std::size_t, plan::ServicePortName>& kept);

    [[nodiscard]] Result<void> look(kernel::iptables::Iptables& iptables);

    // Chains and rules that are missing, different, or too many. Comments that are due or not do not count.
    [[nodiscard]] std::uint64_t differences() const { return differences_; }
    [[nodiscard]] const std::vector<std::string>& examples() const { return examples_; }
    [[nodiscard]] const RuleCounts& expected_rules() const { return expected_rules_; }
    [[nodiscard]] KeptUnits& kept() { return kept_; }

    // What is to be written, in this order. Empty: nothing.
    [[nodiscard]] std::string frame_text() const;        // the node's own chains and jumps
    [[nodiscard]] RuleCounts frame_rules() const;        // in it, without jumps
    [[nodiscard]] std::vector<Lacking> lacking() const;  // by unit
    [[nodiscard]] Edit edit_of(std::size_t unit) const;  // what a unit lacks
    // The chains that edits declare, one a call, from the last name to the first; its unit, and the name.
    [[nodiscard]] ChainSource chains_of_edits() const;
    [[nodiscard]] std::vector<Edit> removals() const;         // rules and chains that nobody expects, each on its own
    [[nodiscard]] std::string place_text(Place place) const;  // a shared chain written anew as a whole
    // Shared chains that hold rules which nobody expects.
    [[nodiscard]] std::set<Place> littered() const;

  private:
    enum class State : std::uint8_t { kMissing, kDifferent, kCommented, kSame };
    struct ExpectedChain {
        std::uint64_t body;
        ChainId id;
        std::uint32_t unit;
        std::uint32_t rules;  // their number
        State state;
    };
    struct ExpectedRule {
        std::uint64_t key;
        std::uint32_t unit;
        Part part;  // in which it is written
        bool found;
    };
    struct ForeignRule {
        Place place;
        std::string rule;
    };
    struct StaleChain {
        std::string body;  // only if somebody may want it
        std::vector<std::string> targets;
    };
    struct FixedChain {
        Chain chain;
        State state;
    };
    // The chain whose rules are coming in.
    struct Current {
        std::string name;
        enum class Kind : std::uint8_t { kOther, kExpected, kFixed, kShared, kStale } kind = Kind::kOther;
        std::size_t index = 0;  // of what it is
        std::string body;
    };

    void take_chain(std::string_view line);
    void take_rule(std::string_view line);
    void begin_chain(std::string_view name);
    void end_chain();
    void take_shared(Place place, std::string_view line, std::string_view rule);
    [[nodiscard]] bool claim(Place place, std::string_view rule, bool& is_tail);
    [[nodiscard]] bool keep_rule(Place place, std::string_view rule);
    void take_jump(std::string_view line);
    void note_targets(std::string_view line);
    void sort_out_stale();
    void add_up();
    template <typename Describe>
    void differ(const Describe& describe);
    [[nodiscard]] std::string rule_text(const ExpectedRule& rule) const;
    [[nodiscard]] bool tail_is_right() const;
    [[nodiscard]] std::string canonical_body(const std::string& body) const;
    [[nodiscard]] const Rules& plain_rules(std::size_t unit);
    [[nodiscard]] ExpectedChain* find_chain(std::string_view table, std::string_view name);
    [[nodiscard]] const ExpectedChain* find_chain(std::string_view table, std::string_view name) const;
    [[nodiscard]] std::pair<std::vector<ExpectedRule>::const_iterator, std::vector<ExpectedRule>::const_iterator>
    find_rules(Place place, std::string_view rule) const;
    [[nodiscard]] bool lacks_rule(std::size_t unit, const Dispatch& rule) const;

    const net::Family family_;
    const bool comments_;
    const std::size_t units_;
    const RulesOf rules_of_;
    std::vector<ExpectedChain> chains_;  // sorted by name
    std::vector<ExpectedRule> rules_;    // sorted by key
    std::vector<FixedChain> fixed_;
    struct TailRule {
        std::string rule;
        bool found = false;
    };
    std::vector<TailRule> tail_;
    struct JumpState {
        Jump jump;
        bool found = false;
    };
    std::vector<JumpState> jumps_;
    std::array<bool, kNeededChains.size()> present_{};
    std::vector<ForeignRule> foreign_;
    std::map<std::string, StaleChain, std::less<>> stale_;
    std::set<std::string, std::less<>> wanted_elsewhere_;  // chains of ours that rules of others jump to
    KeptUnits kept_;
    std::map<std::string, std::size_t, std::less<>> kept_by_hash_;
    RuleCounts expected_rules_;
    std::uint64_t differences_ = 0;
    std::vector<std::string> examples_;

    // While looking.
    std::string_view table_;
    Current current_;
    bool tail_begun_ = false;
    bool tail_is_last_ = true;
    bool tail_is_misplaced_ = false;  // something that stays is behind it
    std::size_t plain_unit_ = SIZE_MAX;
    Rules plain_;
};

}  // namespace ghostip::dataplane::iptables

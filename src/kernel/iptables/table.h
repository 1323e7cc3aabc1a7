// One table of the twin in memory: chains and rules, changed by one command at a time. Refuses what the kernel and the
// programs refuse: jumps into nowhere and in circles, names that are taken or missing, chains that are in use. Does not
// judge matches and targets. Copies are cheap: they share the chains that neither has changed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/iptables/command.h"
#include "kernel/iptables/iptables.h"

namespace ghostip::kernel::iptables {

// The chains that the kernel calls, in the order in which they are saved; empty: there is no such table.
[[nodiscard]] std::span<const std::string_view> built_in_chains(std::string_view table);

class Table {
  public:
    // Who refuses a command: that decides when it is said, and which line is named.
    enum class RefusedBy : std::uint8_t { kProgram, kProgramAtCommit, kKernel };
    struct Objection {
        std::string reason;
        RefusedBy by = RefusedBy::kProgram;
    };

    // With its built-in chains.
    Table(std::string_view name, Variant variant);

    // After a refusal of the kernel the command counts as done, so that what follows is judged as the programs do; of
    // the others, as not done.
    [[nodiscard]] std::optional<Objection> apply(const Command& command);
    // Whether rules jump in a circle that a packet can come to. The kernel looks for it last.
    [[nodiscard]] bool has_circle() const;

    // What another program does: nothing is refused.
    void clear();                              // rules, and chains that are not built in
    bool delete_chain(std::string_view name);  // and the rules that jump to it; false: not there, or built in

    [[nodiscard]] bool has_chain(std::string_view chain) const { return chains_.contains(chain); }
    void save(const LineSink& line) const;
    [[nodiscard]] std::size_t rules() const;

  private:
    struct Rule {
        std::string text;    // without operation and chain
        std::string target;  // a chain of this table; empty: none
    };
    struct Chain {
        std::string policy;  // "-": not built in
        std::vector<Rule> rules;
    };
    // A chain may be another table's too: it is changed by change() alone.
    using Chains = std::map<std::string, std::shared_ptr<Chain>, std::less<>>;

    [[nodiscard]] bool built_in(std::string_view chain) const;
    [[nodiscard]] Chain& change(const std::string& chain);  // it exists
    [[nodiscard]] std::optional<Objection> declare(const Command& command);
    [[nodiscard]] std::optional<Objection> set_policy(const Command& command);
    [[nodiscard]] std::optional<Objection> put_rule(const Command& command);
    [[nodiscard]] std::optional<Objection> delete_rule(const Command& command);
    [[nodiscard]] std::optional<Objection> remove(const std::string& chain);
    [[nodiscard]] std::optional<Objection> remove_all();
    [[nodiscard]] std::optional<Objection> check_target(const Command& command) const;
    void flush(const std::string& chain);
    void count_use(const std::string& target, int by);

    std::span<const std::string_view> built_ins_;
    Variant variant_;
    Chains chains_;
    std::map<std::string, int, std::less<>> uses_;  // by how many rules a chain is jumped to; never 0
};

}  // namespace ghostip::kernel::iptables

// The twin of linux.h in memory: one family of one variant, without programs, kernel or root. Says of a text what the
// real ones say, line by line, but for what extensions mean: any match and any option is taken.
//
// Unlike its Linux sibling it may be looked into from another thread while one uses it.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/iptables/iptables.h"
#include "kernel/iptables/table.h"

namespace ghostip::kernel::iptables {

class MemoryIptables final : public Iptables {
  public:
    MemoryIptables(Variant variant, net::Family family, Version version = {1, 8, 9})
        : variant_(variant), family_(family), version_(version) {}

    using Iptables::restore;
    [[nodiscard]] net::Family family() const override { return family_; }
    [[nodiscard]] Variant variant() const override { return variant_; }
    [[nodiscard]] Version version() const override { return version_; }
    [[nodiscard]] Result<void> save(std::string_view table, const LineSink& line) override;
    [[nodiscard]] Result<Refused> restore(const TextSource& text) override;
    [[nodiscard]] Result<bool> has_chain(std::string_view table, std::string_view chain) override;

    // The kernel refuses rules that contain this text as they were given. An empty text: none from now on.
    void refuse_rules_with(std::string text);
    // The next calls of restore() and has_chain() find the lock held by another program, and do nothing.
    void hold_lock(std::uint64_t calls);
    // After `good` calls of anything the next ones fail with this errno value, as when the program cannot be run.
    void fail_calls(std::uint64_t calls, int code, std::uint64_t good = 0);

    // What somebody else does to a table behind the user's back.
    // `rule` is as it is saved: "-A CHAIN ...". False: there is none.
    bool delete_rule(std::string_view table, std::string_view rule);
    // The rules and chains of all tables, but not the policies (iptables -F; iptables -X).
    void flush_all();
    // Empties and removes one chain, and the rules that jump to it. False: there is none.
    bool delete_chain(std::string_view table, std::string_view chain);

    // What was given to restore(), also what was refused; in full, in order.
    [[nodiscard]] std::vector<std::string> texts() const;
    [[nodiscard]] std::uint64_t restores() const;  // their number
    void forget_texts();                           // restores() goes on counting
    [[nodiscard]] std::uint64_t saves() const;
    [[nodiscard]] std::vector<std::string> saved(std::string_view table) const;  // the lines of save()
    [[nodiscard]] std::size_t rules(std::string_view table) const;

  private:
    using Tables = std::map<std::string, Table, std::less<>>;

    // All with mutex_ held.
    [[nodiscard]] Result<void> begin_call();
    [[nodiscard]] bool lock_is_held();
    [[nodiscard]] Refused take(std::string_view text);
    [[nodiscard]] Refused take_table(const std::string& name, const std::vector<Command>& commands,
                                     std::size_t commit_line);
    [[nodiscard]] bool is_refused(std::string_view line) const;

    const Variant variant_;
    const net::Family family_;
    const Version version_;

    mutable std::mutex mutex_;
    // Guarded by mutex_.
    Tables tables_;
    std::string refused_text_;
    std::uint64_t lock_held_ = 0;
    std::uint64_t failures_ = 0;
    std::uint64_t good_calls_ = 0;  // before those
    int failure_code_ = 0;
    std::vector<std::string> texts_;
    std::uint64_t restores_ = 0;
    std::uint64_t saves_ = 0;
};

}  // namespace ghostip::kernel::iptables

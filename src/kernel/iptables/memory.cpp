#include "kernel/iptables/memory.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace ghostip::kernel::iptables {
namespace {

using Kind = Command::Kind;
using RefusedBy = Table::RefusedBy;

Refused refuse(std::string reason, std::size_t line) { return Refusal{std::move(reason), line, false}; }

bool has_rule(Kind kind) { return kind == Kind::kAppend || kind == Kind::kInsert || kind == Kind::kReplace; }

// iptables-nft makes a table for the first command that names a chain in it. (Deleting from nowhere fails.)
bool makes_table(const Command& command) {
    return !command.chain.empty() && command.kind != Kind::kDelete && command.kind != Kind::kDeleteNumber;
}

}  // namespace

Result<void> MemoryIptables::save(std::string_view table, const LineSink& line) {
    const std::lock_guard guard(mutex_);
    RETURN_IF_ERROR(begin_call());
    ++saves_;
    if (const auto found = tables_.find(table); found != tables_.end()) found->second.save(line);
    return {};
}

Result<Refused> MemoryIptables::restore(const TextSource& text) {
    std::string whole;
    for (auto piece = text(); !piece.empty(); piece = text()) whole += piece;
    const std::lock_guard guard(mutex_);
    RETURN_IF_ERROR(begin_call());
    ++restores_;
    texts_.push_back(whole);
    if (lock_is_held()) return Refused(Refusal{"Another app is currently holding the xtables lock.", 0, true});
    return take(whole);
}

Result<bool> MemoryIptables::has_chain(std::string_view table, std::string_view chain) {
    const std::lock_guard guard(mutex_);
    RETURN_IF_ERROR(begin_call());
    if (lock_is_held()) return errno_error(EBUSY, fmt::format("look for chain {} of table {}", chain, table));
    const auto found = tables_.find(table);
    return found != tables_.end() && found->second.has_chain(chain);
}

Result<void> MemoryIptables::begin_call() {
    if (failures_ == 0) return {};
    if (good_calls_ > 0) {
        --good_calls_;
        return {};
    }
    --failures_;
    return errno_error(failure_code_, "run iptables");
}

bool MemoryIptables::lock_is_held() {
    if (lock_held_ == 0) return false;
    --lock_held_;
    return true;
}

bool MemoryIptables::is_refused(std::string_view line) const {
    return !refused_text_.empty() && line.find(refused_text_) != std::string_view::npos;
}

// Reads the lines as both programs do. iptables-legacy carries out each command as it reads it, on a copy of the table;
// iptables-nft reads all of a table first. Hence which of two mistakes is found depends on the variant.
Refused MemoryIptables::take(std::string_view text) {
    std::string table;
    std::vector<Command> commands;
    std::size_t number = 0;
    std::optional<Refusal> kernel_refuses;
    std::optional<Table> trial;  // of iptables-legacy
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        ++number;
        if (line.empty() || line.starts_with('#')) continue;
        if (table.empty()) {
            if (!line.starts_with('*')) return refuse(fmt::format("line {} failed", number), number);
            table = line.substr(1, line.find_first_of(" \t") - 1);
            if (built_in_chains(table).empty()) return refuse(fmt::format("table name '{}' invalid", table), number);
            commands.clear();
            kernel_refuses.reset();
            // Asking iptables-legacy for a table makes it.
            if (variant_ == Variant::kLegacy) trial = tables_.try_emplace(table, table, variant_).first->second;
            continue;
        }
        if (line == "COMMIT") {
            if (variant_ == Variant::kNft) {
                if (auto refused = take_table(table, commands, number)) return refused;
            } else {
                if (kernel_refuses) return refuse(kernel_refuses->reason, number);
                if (trial->has_circle()) return refuse("the kernel refuses a loop of jumps", number);
                tables_.insert_or_assign(table, std::move(*trial));
            }
            table.clear();
            continue;
        }
        auto command = parse_command(line, family_);
        if (!command) return refuse(command.error().message, number);
        command->line = number;
        const bool unwanted = has_rule(command->kind) && is_refused(line);
        if (variant_ == Variant::kNft) {
            command->unwanted = unwanted;
            commands.push_back(std::move(*command));
            continue;
        }
        if (unwanted) kernel_refuses = Refusal{"the kernel refuses a rule", number, false};
        if (const auto refused = trial->apply(*command)) return refuse(refused->reason, number);
    }
    if (!table.empty()) return refuse(fmt::format("COMMIT expected at line {}", number + 1), number + 1);
    return std::nullopt;
}

// The commands of a table, as iptables-nft carries them out.
Refused MemoryIptables::take_table(const std::string& name, const std::vector<Command>& commands,
                                   std::size_t commit_line) {
    const auto found = tables_.find(name);
    Table trial = found == tables_.end() ? Table(name, variant_) : found->second;
    std::optional<Refusal> kernel_refuses;
    bool made = found != tables_.end();
    for (const auto& command : commands) {
        auto refused = trial.apply(command);
        if (!refused && command.unwanted)
            refused = Table::Objection{"RULE_APPEND failed (Invalid argument)", RefusedBy::kKernel};
        made = made || makes_table(command);
        if (!refused) continue;
        if (refused->by == RefusedBy::kProgram) return refuse(refused->reason, command.line);
        if (refused->by == RefusedBy::kProgramAtCommit) return refuse(refused->reason, commit_line);
        // The kernel sees the batch only when the programs find nothing wrong with it.
        if (!kernel_refuses) kernel_refuses = Refusal{refused->reason, command.line, false};
    }
    if (kernel_refuses) return kernel_refuses;
    if (trial.has_circle()) {
        // The kernel goes through the batch once more to find the rule.
        trial = found == tables_.end() ? Table(name, variant_) : found->second;
        for (const auto& command : commands) {
            static_cast<void>(trial.apply(command));
            if (has_rule(command.kind) && trial.has_circle())
                return refuse("RULE_APPEND failed (Too many links)", command.line);
        }
    }
    if (made) tables_.insert_or_assign(name, std::move(trial));
    return std::nullopt;
}

void MemoryIptables::refuse_rules_with(std::string text) {
    const std::lock_guard guard(mutex_);
    refused_text_ = std::move(text);
}

void MemoryIptables::hold_lock(std::uint64_t calls) {
    const std::lock_guard guard(mutex_);
    lock_held_ = calls;
}

void MemoryIptables::fail_calls(std::uint64_t calls, int code, std::uint64_t good) {
    const std::lock_guard guard(mutex_);
    good_calls_ = good;
    failures_ = calls;
    failure_code_ = code;
}

bool MemoryIptables::delete_rule(std::string_view table, std::string_view rule) {
    const std::lock_guard guard(mutex_);
    const auto found = tables_.find(table);
    auto command = parse_command(rule, family_);
    if (found == tables_.end() || !command || command->kind != Kind::kAppend) return false;
    command->kind = Kind::kDelete;
    return !found->second.apply(*command);
}

void MemoryIptables::flush_all() {
    const std::lock_guard guard(mutex_);
    for (auto& [name, table] : tables_) table.clear();
}

bool MemoryIptables::delete_chain(std::string_view table, std::string_view chain) {
    const std::lock_guard guard(mutex_);
    const auto found = tables_.find(table);
    return found != tables_.end() && found->second.delete_chain(chain);
}

std::vector<std::string> MemoryIptables::texts() const {
    const std::lock_guard guard(mutex_);
    return texts_;
}

std::uint64_t MemoryIptables::restores() const {
    const std::lock_guard guard(mutex_);
    return restores_;
}

void MemoryIptables::forget_texts() {
    const std::lock_guard guard(mutex_);
    texts_.clear();
}

std::uint64_t MemoryIptables::saves() const {
    const std::lock_guard guard(mutex_);
    return saves_;
}

std::vector<std::string> MemoryIptables::saved(std::string_view table) const {
    const std::lock_guard guard(mutex_);
    std::vector<std::string> lines;
    if (const auto found = tables_.find(table); found != tables_.end())
        found->second.save([&](std::string_view line) { lines.emplace_back(line); });
    return lines;
}

std::size_t MemoryIptables::rules(std::string_view table) const {
    const std::lock_guard guard(mutex_);
    const auto found = tables_.find(table);
    return found == tables_.end() ? 0 : found->second.rules();
}

}  // namespace ghostip::kernel::iptables

#include "kernel/nft/memory.h"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <optional>

#include <fmt/format.h>

namespace ghostip::kernel::nft {
namespace {

using TableState = MemoryKernel::TableState;
using SetState = MemoryKernel::SetState;
using Bytes = MemoryKernel::Bytes;

constexpr int kDone = 0;

// Does the operations of a batch to one table; each answers an errno value. The table is absent before it is added and
// after it is deleted.
class Work {
  public:
    Work(const Table& table, std::optional<TableState> state, const std::map<Bytes, int>& refused)
        : family_(table.family), state_(std::move(state)), refused_(refused) {}

    int operator()(const AddTable& op) {
        if (!state_) state_.emplace();
        state_->flags = op.flags;
        return kDone;
    }
    int operator()(const DeleteTable&) {
        if (!state_) return ENOENT;
        state_.reset();
        return kDone;
    }
    int operator()(const AddSet& op) {
        if (!state_) return ENOENT;
        const auto [found, added] = state_->sets.try_emplace(op.set.name, SetState{op.set, {}, {}});
        if (added) return kDone;
        const Set& known = found->second.declaration;
        const bool same = known.key == op.set.key && known.data == op.set.data &&
                          (known.timeout_seconds != 0) == (op.set.timeout_seconds != 0) &&
                          known.counts == op.set.counts;
        return same ? kDone : EEXIST;
    }
    int operator()(const AddChain& op) {
        if (!state_) return ENOENT;
        const auto [found, added] = state_->chains.try_emplace(op.name, Chain{op.name, op.base, {}});
        // Naming a base chain without its hook is no attempt to change it.
        const auto& known = found->second.base;
        if (added || !op.base || known == op.base) return kDone;
        return known && known->type != op.base->type ? EEXIST : EOPNOTSUPP;
    }
    int operator()(const FlushChain& op) {
        Chain* chain = find_chain(op.chain);
        if (chain == nullptr) return ENOENT;
        chain->rules.clear();
        return kDone;
    }
    int operator()(const AddRule& op) {
        Chain* chain = find_chain(op.chain);
        if (chain == nullptr) return ENOENT;
        for (const auto& expression : op.rule.expressions)
            if (const int refusal = std::visit([this](const auto& e) { return refuse(e); }, expression);
                refusal != kDone)
                return refusal;
        chain->rules.push_back(op.rule);
        return kDone;
    }
    int operator()(const DeleteChain& op) {
        if (find_chain(op.chain) == nullptr) return ENOENT;
        for (const auto& [name, chain] : state_->chains)
            if (name != op.chain && refers(chain, op.chain)) return EBUSY;
        state_->chains.erase(op.chain);
        return kDone;
    }
    int operator()(const DeleteSet& op) {
        if (find_set(op.set) == nullptr) return ENOENT;
        for (const auto& [name, chain] : state_->chains)
            if (refers(chain, op.set)) return EBUSY;
        state_->sets.erase(op.set);
        return kDone;
    }
    int operator()(const AddElements& op) {
        SetState* set = find_set(op.elements.set);
        if (set == nullptr) return ENOENT;
        if (!fits(*set, op.elements)) return EINVAL;
        if (op.elements.data_bytes != 0 && set->declaration.data.empty()) return EINVAL;
        if (op.elements.data_bytes == 0 && !set->declaration.data.empty()) return EINVAL;
        for (std::size_t i = 0; i < op.elements.count(); ++i) {
            auto [key, data] = split(op.elements, i);
            element_ = i;
            for (const auto& [prefix, code] : refused_)
                if (key.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), key.begin())) return code;
            if (const auto known = set->elements.find(key); known != set->elements.end()) {
                if (known->second != data) return EEXIST;  // the element stands, with other data
                continue;
            }
            if (set->declaration.size != 0 && set->elements.size() >= set->declaration.size) return ENFILE;
            set->elements.emplace(std::move(key), std::move(data));
        }
        return kDone;
    }
    // Elements that match everything are not known here; the real kernel's are tested.
    int operator()(const DeleteCatchAll& /*op*/) { return ENOENT; }
    // By key: the data is not looked at.
    int operator()(const DeleteElements& op) {
        SetState* set = find_set(op.elements.set);
        if (set == nullptr) return ENOENT;
        if (!fits(*set, op.elements)) return EINVAL;
        for (std::size_t i = 0; i < op.elements.count(); ++i) {
            element_ = i;
            const auto key = split(op.elements, i).first;
            if (set->elements.erase(key) == 0) return ENOENT;
            set->counts.erase(key);
        }
        return kDone;
    }

    [[nodiscard]] std::optional<TableState> take() && { return std::move(state_); }
    // The element that the last operation stopped at.
    [[nodiscard]] std::size_t element() const { return element_; }

  private:
    // Does a rule of this chain jump to a chain, or look into a set, of that name?
    static bool refers(const Chain& chain, const std::string& name) {
        const auto names = [&](const Expression& expression) {
            if (const auto* verdict = std::get_if<Verdict>(&expression)) return verdict->chain == name;
            if (const auto* lookup = std::get_if<Lookup>(&expression)) return lookup->set == name;
            if (const auto* update = std::get_if<UpdateMap>(&expression)) return update->map == name;
            return false;
        };
        return std::any_of(chain.rules.begin(), chain.rules.end(), [&](const Rule& rule) {
            return std::any_of(rule.expressions.begin(), rule.expressions.end(), names);
        });
    }
    [[nodiscard]] Chain* find_chain(const std::string& name) {
        if (!state_) return nullptr;
        const auto found = state_->chains.find(name);
        return found == state_->chains.end() ? nullptr : &found->second;
    }
    [[nodiscard]] SetState* find_set(const std::string& name) {
        if (!state_) return nullptr;
        const auto found = state_->sets.find(name);
        return found == state_->sets.end() ? nullptr : &found->second;
    }
    [[nodiscard]] bool fits(const SetState& set, const Elements& elements) const {
        const auto& declared = set.declaration;
        if (elements.key_bytes != stored_size(declared.key, family_)) return false;
        return elements.data_bytes == 0 || declared.data.empty() ||
               elements.data_bytes == stored_size(declared.data, family_);
    }
    static std::pair<Bytes, Bytes> split(const Elements& elements, std::size_t index) {
        const auto bytes = elements.at(index);
        const auto middle = bytes.begin() + elements.key_bytes;
        return {Bytes(bytes.begin(), middle), Bytes(middle, bytes.end())};
    }

    // What an expression refers to must be there, and be of the right kind.
    template <typename Expression>
    int refuse(const Expression& /*expression*/) {
        return kDone;
    }
    int refuse(const Lookup& e) {
        const SetState* set = find_set(e.set);
        if (set == nullptr) return ENOENT;
        return e.data_reg && set->declaration.data.empty() ? EINVAL : kDone;  // a map may stand for its keys
    }
    int refuse(const UpdateMap& e) {
        const SetState* set = find_set(e.map);
        if (set == nullptr) return ENOENT;
        return set->declaration.data.empty() ? EOPNOTSUPP : kDone;
    }
    int refuse(const Verdict& e) {
        if (e.kind != Verdict::Kind::kJump && e.kind != Verdict::Kind::kGoto) return kDone;
        const Chain* chain = find_chain(e.chain);
        if (chain == nullptr) return ENOENT;
        return chain->base ? EOPNOTSUPP : kDone;
    }

    net::Family family_;
    std::optional<TableState> state_;
    const std::map<Bytes, int>& refused_;
    std::size_t element_ = 0;
};

}  // namespace

int MemoryKernel::begin_call() {
    ++counters_.calls;
    const auto failure = failures_.find(++calls_);
    if (failure == failures_.end()) return 0;
    const int code = failure->second;
    failures_.erase(failure);
    return code;
}

Result<MemoryKernel::Tables> MemoryKernel::attempt(const Batch& batch, Refusal* refusal) const {
    const Key key = key_of(batch.table);
    const auto known = tables_.find(key);
    Work work(batch.table, known == tables_.end() ? std::nullopt : std::optional(known->second), refused_);
    for (std::size_t i = 0; i < batch.operations.size(); ++i) {
        const auto& operation = batch.operations[i];
        const int code = std::visit(std::ref(work), operation);
        if (code == kDone) continue;
        if (refusal != nullptr) {
            const bool elements =
                std::holds_alternative<AddElements>(operation) || std::holds_alternative<DeleteElements>(operation);
            *refusal = {};
            if (says_ != Says::kNothing) refusal->operation = i;
            if (says_ == Says::kElement && elements) refusal->element = work.element();
        }
        return errno_error(code, fmt::format("nf_tables table {}: {}", batch.table.name, describe(operation)));
    }
    Tables changed;
    if (auto state = std::move(work).take()) changed.emplace(key, std::move(*state));
    return changed;
}

Result<void> MemoryKernel::commit(const Batch& batch, Refusal* refusal) {
    if (batch.empty()) return {};
    if (refusal != nullptr) *refusal = {};
    if (const int code = begin_call(); code != 0)
        return errno_error(code, fmt::format("nf_tables table {}: commit", batch.table.name));
    ASSIGN_OR_RETURN(auto changed, attempt(batch, refusal));
    tables_.erase(key_of(batch.table));
    tables_.merge(changed);
    ++counters_.commits;
    counters_.operations += batch.operations.size();
    for (const auto& operation : batch.operations) {
        if (const auto* add = std::get_if<AddElements>(&operation)) counters_.elements_added += add->elements.count();
        if (const auto* remove = std::get_if<DeleteElements>(&operation))
            counters_.elements_deleted += remove->elements.count();
    }
    return {};
}

Result<void> MemoryKernel::check(const Batch& batch) {
    if (batch.empty()) return {};
    if (const int code = begin_call(); code != 0)
        return errno_error(code, fmt::format("nf_tables table {}: commit", batch.table.name));
    RETURN_IF_ERROR(attempt(batch, nullptr));
    return {};
}

Result<void> MemoryKernel::written_by_another(const Batch& batch) {
    ASSIGN_OR_RETURN(auto changed, attempt(batch, nullptr));
    tables_.erase(key_of(batch.table));
    tables_.merge(changed);
    return {};
}

namespace {

void append(Elements& elements, const Bytes& key, const Bytes& data) {
    const auto one = [&](const Bytes& bytes, std::size_t padded) {
        elements.bytes.insert(elements.bytes.end(), bytes.begin(), bytes.end());
        elements.bytes.resize(elements.bytes.size() + padded - bytes.size());
    };
    one(key, elements.key_bytes);
    one(data, elements.data_bytes);
}

Elements empty_elements(const Set& set, net::Family family) {
    return {set.name,
            static_cast<std::uint16_t>(fields_size(set.key, family)),
            static_cast<std::uint16_t>(fields_size(set.data, family)),
            {}};
}

}  // namespace

Result<void> MemoryKernel::dump(const Table& table, const Set& set, const Handler& handle) {
    const int code = begin_call();
    const TableState* state = find(table);
    const bool present = state != nullptr && state->sets.contains(set.name);
    if (code != 0 || !present) return errno_error(code != 0 ? code : ENOENT, fmt::format("set {}", set.name));
    std::size_t number = 0;
    for (const auto& [key, data] : state->sets.at(set.name).elements) {
        ++number;
        if (interrupted_ && number % 3 == 0) continue;
        handle(key, data);
        if (interrupted_ && number % 2 == 0) handle(key, data);
    }
    return {};
}

Result<Dump> MemoryKernel::read(const Table& table, const Set& set) {
    Dump result{empty_elements(set, table.family), !interrupted_};
    RETURN_IF_ERROR(dump(table, set, [&](const Bytes& key, const Bytes& data) { append(result.elements, key, data); }));
    return result;
}

Result<CountedDump> MemoryKernel::read_counts(const Table& table, const Set& set) {
    CountedDump result{empty_elements(set, table.family), {}, !interrupted_};
    RETURN_IF_ERROR(dump(table, set, [&](const Bytes& key, const Bytes& data) {
        const auto& counts = find(table)->sets.at(set.name).counts;
        const auto known = counts.find(key);
        append(result.elements, key, data);
        result.counts.push_back(known == counts.end() ? Count{} : known->second);
    }));
    return result;
}

void MemoryKernel::packets_met(const Table& table, const std::string& set, const Bytes& key, Count count) {
    const auto found = tables_.find(key_of(table));
    if (found == tables_.end() || !found->second.sets.contains(set)) return;
    auto& state = found->second.sets.at(set);
    if (!state.declaration.counts || !state.elements.contains(key)) return;
    state.counts[key].packets += count.packets;
    state.counts[key].bytes += count.bytes;
}

Result<Elements> MemoryKernel::look_up(const Table& table, const Set& set, const Elements& keys) {
    if (const int code = begin_call(); code != 0) return errno_error(code, fmt::format("set {}", set.name));
    Elements found = empty_elements(set, table.family);
    const TableState* state = find(table);
    if (state == nullptr || !state->sets.contains(set.name)) return found;
    const auto& elements = state->sets.at(set.name).elements;
    for (std::size_t i = 0; i < keys.count(); ++i) {
        const auto bytes = keys.at(i).first(stored_size(set.key, table.family));
        const auto element = elements.find(Bytes(bytes.begin(), bytes.end()));
        if (element != elements.end()) append(found, element->first, element->second);
    }
    return found;
}

Result<bool> MemoryKernel::has_catch_all(const Table& /*table*/, const Set& set) {
    if (const int code = begin_call(); code != 0) return errno_error(code, fmt::format("set {}", set.name));
    return false;
}

Result<std::optional<Contents>> MemoryKernel::contents(const Table& table) {
    if (const int code = begin_call(); code != 0) return errno_error(code, fmt::format("table {}", table.name));
    const TableState* state = find(table);
    if (state == nullptr) return std::optional<Contents>();
    Contents contents;
    contents.chains = state->chains;
    contents.flags = state->flags;
    for (auto& [name, chain] : contents.chains)
        for (auto& rule : chain.rules) rule.text.clear();
    for (const auto& [name, set] : state->sets) contents.sets[name] = set.declaration;
    return std::optional(std::move(contents));
}

Result<bool> MemoryKernel::exists(const Table& table) {
    if (const int code = begin_call(); code != 0)
        return errno_error(code, fmt::format("look for table {}", table.name));
    return find(table) != nullptr;
}

const MemoryKernel::TableState* MemoryKernel::find(const Table& table) const {
    const auto found = tables_.find(key_of(table));
    return found == tables_.end() ? nullptr : &found->second;
}

}  // namespace ghostip::kernel::nft

#include "kernel/conntrack/memory.h"

#include <algorithm>

namespace ghostip::kernel::conntrack {

int MemoryConntrack::begin_call() {
    const auto failure = failures_.find(++counters_.calls);
    if (failure == failures_.end()) return 0;
    const int code = failure->second;
    failures_.erase(failure);
    return code;
}

Result<std::vector<Entry>> MemoryConntrack::dump(const Filter& filter, const Wanted& wanted) {
    const std::scoped_lock lock(mutex_);
    if (const int code = begin_call(); code != 0) return errno_error(code, "list tracked flows");
    ++counters_.dumps;
    filters_.push_back(filter);
    std::vector<Entry> found;
    for (const auto& entry : entries_)
        if (matches(filter, entry) && wanted(entry)) found.push_back(entry);
    return found;
}

Result<bool> MemoryConntrack::remove(const Entry& entry) {
    const std::scoped_lock lock(mutex_);
    if (const int code = begin_call(); code != 0) return errno_error(code, "remove a tracked flow");
    const auto found = std::find(entries_.begin(), entries_.end(), entry);
    if (found == entries_.end()) return false;
    entries_.erase(found);
    ++counters_.removed;
    return true;
}

void MemoryConntrack::add(Entry entry) {
    const std::scoped_lock lock(mutex_);
    entry.id = ++last_id_;
    entries_.push_back(entry);
}

std::vector<Entry> MemoryConntrack::entries() const {
    const std::scoped_lock lock(mutex_);
    auto sorted = entries_;
    std::sort(sorted.begin(), sorted.end());
    return sorted;
}

MemoryConntrack::Counters MemoryConntrack::counters() const {
    const std::scoped_lock lock(mutex_);
    return counters_;
}

std::vector<Filter> MemoryConntrack::filters() const {
    const std::scoped_lock lock(mutex_);
    return filters_;
}

void MemoryConntrack::fail_call(std::uint64_t call, int code) {
    const std::scoped_lock lock(mutex_);
    failures_[counters_.calls + call] = code;
}

void MemoryConntrack::fail_no_more() {
    const std::scoped_lock lock(mutex_);
    failures_.clear();
}

}  // namespace ghostip::kernel::conntrack

#include "kernel/ipset/memory.h"

#include <bit>

namespace ghostip::kernel::ipset {
namespace {

// The kernel takes hash sizes from 64 on, and what is less as 64.
std::uint32_t buckets(std::uint32_t hash_size) { return std::bit_ceil(std::max(hash_size, 64U)); }

// 0: the type can hold it. hash types of a port: ports of protocols that have none are not spoken here.
int check(Type type, std::optional<net::Family> family, const Element& element) {
    if (type == Type::kPort) return 0;
    if (element.address.family() != family) return EINVAL;
    if (type == Type::kIp) return element.address.is_unspecified() && element.address.is_ipv4() ? EINVAL : 0;
    if (element.protocol == net::Protocol{}) return EINVAL;
    if (type == Type::kIpPort) return 0;
    if (!element.other || element.other->family() != family) return EINVAL;
    return type == Type::kIpPortNet && element.other->length < 1 ? EINVAL : 0;
}

// What of it the kernel keeps.
Element kept(Type type, const Element& element) {
    Element made;
    if (type != Type::kPort) made.address = element.address;
    if (type != Type::kIp) made.port = element.port;
    if (type == Type::kPort || type == Type::kIp) return made;
    made.protocol = element.protocol;
    if (type == Type::kIpPort) return made;
    made.other = element.other;
    if (type == Type::kIpPortIp)
        made.other = net::Prefix::host(element.other->address);
    else
        made.other->address = element.other->address.masked(element.other->length);
    return made;
}

}  // namespace

std::optional<Error> MemorySets::begin_call(const std::string& what) {
    ++counters_.calls;
    if (absent_) return Error{"this kernel has no IP sets (module ip_set is neither built in nor loadable)", ENOENT};
    const auto failure = failures_.find(counters_.calls);
    if (failure == failures_.end()) return std::nullopt;
    const int code = failure->second;
    failures_.erase(failure);
    return errno_error(code, what);
}

Header MemorySets::header(const std::string& name, const Set& set) {
    Header made{name, set.type_name, set.type, set.family, set.hash_size, set.most_elements, set.references, 0};
    made.elements = static_cast<std::uint32_t>(set.elements.size());
    return made;
}

Result<void> MemorySets::create(const Definition& definition) {
    const auto what = fmt::format("create IP set {} ({})", definition.name, type_name(definition.type));
    if (auto error = begin_call(what)) return *error;
    if (definition.name.empty() || definition.name.size() > kLongestName) return errno_error(EINVAL, what);
    Set made{std::string(type_name(definition.type)), definition.type, definition.family, 0, 0, 0, {}};
    if (definition.type == Type::kPort) {
        made.family.reset();
    } else {
        made.hash_size = buckets(definition.hash_size);
        made.most_elements = definition.most_elements;
    }
    const auto [found, added] = sets_.emplace(definition.name, made);
    if (added) return {};
    const auto& there = found->second;
    if (there.type_name == made.type_name && there.family == made.family && there.most_elements == made.most_elements)
        return {};
    return errno_error(EEXIST, what);
}

Result<std::vector<Header>> MemorySets::headers() {
    if (auto error = begin_call("list IP sets")) return *error;
    std::vector<Header> all;
    for (const auto& [name, set] : sets_) all.push_back(header(name, set));
    return all;
}

Result<std::optional<Contents>> MemorySets::contents(const std::string& name) {
    if (auto error = begin_call("list IP set " + name)) return *error;
    const auto found = sets_.find(name);
    if (found == sets_.end()) return std::optional<Contents>();
    const auto& elements = found->second.elements;
    return std::optional(Contents{header(name, found->second), {elements.begin(), elements.end()}});
}

Result<std::vector<Refusal>> MemorySets::add(const std::string& name, Type type, std::span<const Element> elements) {
    const auto what = "add to IP set " + name;
    if (auto error = begin_call(what)) return *error;
    const auto found = sets_.find(name);
    if (elements.empty()) return std::vector<Refusal>();
    if (found == sets_.end()) return errno_error(ENOENT, what);
    auto& set = found->second;
    std::vector<Refusal> refusals;
    for (std::size_t i = 0; i < elements.size(); ++i) {
        int code = set.type == type ? check(type, set.family, elements[i]) : EINVAL;
        if (code == 0) {
            const auto element = kept(type, elements[i]);
            if (set.elements.contains(element)) continue;
            if (type != Type::kPort && set.elements.size() >= set.most_elements)
                code = ENOSPC;
            else
                counters_.added += set.elements.insert(element).second ? 1 : 0;
        }
        if (code != 0) refusals.push_back({i, errno_error(code, fmt::format("{}: {}", what, text(type, elements[i])))});
    }
    return refusals;
}

Result<std::vector<Refusal>> MemorySets::remove(const std::string& name, Type type, std::span<const Element> elements) {
    const auto what = "remove from IP set " + name;
    if (auto error = begin_call(what)) return *error;
    const auto found = sets_.find(name);
    if (elements.empty()) return std::vector<Refusal>();
    if (found == sets_.end()) return errno_error(ENOENT, what);
    auto& set = found->second;
    std::vector<Refusal> refusals;
    for (std::size_t i = 0; i < elements.size(); ++i) {
        const int code = set.type == type ? check(type, set.family, elements[i]) : EINVAL;
        if (code == 0)
            counters_.removed += set.elements.erase(kept(type, elements[i]));
        else
            refusals.push_back({i, errno_error(code, fmt::format("{}: {}", what, text(type, elements[i])))});
    }
    return refusals;
}

// The references stay with the names.
Result<void> MemorySets::swap(const std::string& one, const std::string& other) {
    const auto what = fmt::format("swap IP sets {} and {}", one, other);
    if (auto error = begin_call(what)) return *error;
    const auto a = sets_.find(one);
    const auto b = sets_.find(other);
    if (a == sets_.end() || b == sets_.end()) return errno_error(ENOENT, what);
    if (a->second.type_name != b->second.type_name || a->second.family != b->second.family)
        return errno_error(EINVAL, what);
    std::swap(a->second, b->second);
    std::swap(a->second.references, b->second.references);
    return {};
}

Result<bool> MemorySets::destroy(const std::string& name) {
    if (auto error = begin_call("destroy IP set " + name)) return *error;
    const auto found = sets_.find(name);
    if (found == sets_.end()) return false;
    if (found->second.references > 0) return errno_error(EBUSY, "destroy IP set " + name);
    sets_.erase(found);
    return true;
}

void MemorySets::add_foreign(const std::string& name, const std::string& type_name) {
    sets_.emplace(name, Set{type_name, std::nullopt, std::nullopt, 0, 0, 0, {}});
}

}  // namespace ghostip::kernel::ipset

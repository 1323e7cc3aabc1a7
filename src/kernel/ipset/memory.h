// The twin of linux.h in memory: the same interface, no kernel and no root. It refuses what the kernel refuses. Nothing
// refers to a set but what a test says.
//
// Owned by one thread.
#pragma once

#include <map>
#include <set>

#include "kernel/ipset/ipset.h"

namespace ghostip::kernel::ipset {

class MemorySets final : public Sets {
  public:
    struct Counters {
        std::uint64_t calls = 0;
        std::uint64_t added = 0;    // elements that were not there
        std::uint64_t removed = 0;  // that were
    };

    [[nodiscard]] Result<void> create(const Definition& definition) override;
    [[nodiscard]] Result<std::vector<Header>> headers() override;
    [[nodiscard]] Result<std::optional<Contents>> contents(const std::string& name) override;
    [[nodiscard]] Result<std::vector<Refusal>> add(const std::string& name, Type type,
                                                   std::span<const Element> elements) override;
    [[nodiscard]] Result<std::vector<Refusal>> remove(const std::string& name, Type type,
                                                      std::span<const Element> elements) override;
    [[nodiscard]] Result<void> swap(const std::string& one, const std::string& other) override;
    [[nodiscard]] Result<bool> destroy(const std::string& name) override;

    // A set of somebody else, of a type that is not spoken here.
    void add_foreign(const std::string& name, const std::string& type_name);
    // How many rules use it.
    void set_references(const std::string& name, std::uint32_t count) { sets_.at(name).references = count; }
    // A kernel without IP sets: every call fails as the Linux one's open().
    void set_absent(bool absent) { absent_ = absent; }
    // The call-th call from now on (1: the next) fails with this errno value and does nothing.
    void fail_call(std::uint64_t call, int code) { failures_[counters_.calls + call] = code; }
    [[nodiscard]] Counters counters() const { return counters_; }

  private:
    struct Set {
        std::string type_name;
        std::optional<Type> type;
        std::optional<net::Family> family;
        std::uint32_t hash_size = 0;
        std::uint32_t most_elements = 0;
        std::uint32_t references = 0;
        std::set<Element> elements;
    };
    [[nodiscard]] std::optional<Error> begin_call(const std::string& what);
    [[nodiscard]] static Header header(const std::string& name, const Set& set);

    std::map<std::string, Set> sets_;
    bool absent_ = false;
    Counters counters_;
    std::map<std::uint64_t, int> failures_;
};

}  // namespace ghostip::kernel::ipset

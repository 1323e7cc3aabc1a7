// For tests: what nf_tables takes and what it refuses, and with which errno value. One table of cases, which the twin
// in memory (memory_test) and the real kernel (test/kernel/netlink_test) must both agree with.
#pragma once

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernel/nft/kernel.h"
#include "kernel/nft/rule_builder.h"

namespace ghostip::kernel::nft::testing {

inline const Table kTable{net::Family::kIpv4, "ghostip-test", "for a test"};

inline Elements elements_of(std::string set, std::uint16_t key_bytes, std::uint16_t data_bytes,
                            std::vector<std::uint8_t> bytes) {
    return {std::move(set), key_bytes, data_bytes, std::move(bytes)};
}
inline AddElements add(Elements elements) { return {std::move(elements)}; }
inline DeleteElements remove(Elements elements) { return {std::move(elements)}; }

inline Elements address(std::uint8_t last, std::string set = "addresses") {
    return elements_of(std::move(set), 4, 0, {10, 0, 0, last});
}
// 10.0.0.1 . 80 : 10.0.0.2 . <port>
inline Elements endpoint(std::uint8_t port) {
    return elements_of("endpoints", 8, 8, {10, 0, 0, 1, 0, 80, 0, 0, 10, 0, 0, 2, 0, port, 0, 0});
}

inline Set addresses() { return {.name = "addresses", .key = {Field::kAddress}}; }
inline Set endpoints() {
    return {.name = "endpoints", .key = {Field::kAddress, Field::kPort}, .data = {Field::kAddress, Field::kPort}};
}
inline Set stuck() {
    return {.name = "stuck",
            .key = {Field::kAddress, Field::kPort},
            .data = {Field::kAddress, Field::kPort},
            .timeout_seconds = 100,
            .size = 16};
}

inline Set counters() { return {.name = "counters", .key = {Field::kAddress}, .counts = true}; }

inline AddChain base_chain(ChainType type, Hook hook, std::int32_t priority) {
    return {"base", BaseChain{type, hook, priority}};
}
inline RuleBuilder rule() { return RuleBuilder(kTable.family); }
inline Rule looks_up(const Key& key, std::string_view set) { return std::move(rule().in_set(key, set)).drop(); }
inline Rule updates(const Key& key, std::string_view map) {
    return std::move(rule().protocol(net::Protocol::kTcp).update_map(key, map)).done();
}

// What stands before each case.
inline Batch before_refusals() {
    return {kTable,
            {AddTable{}, AddSet{addresses()}, AddSet{endpoints()}, AddSet{stuck()},
             AddSet{{.name = "two", .key = {Field::kAddress}, .size = 2}}, AddChain{"plain", std::nullopt},
             base_chain(ChainType::kFilter, Hook::kPrerouting, 0), add(address(1)), add(endpoint(80)),
             add(address(1, "two")), add(address(2, "two"))}};
}

struct RefusalCase {
    const char* name;
    std::vector<Operation> operations;
    int code;  // 0: taken
};

inline std::vector<RefusalCase> refusals() {
    const Key destination{select::kDestination};
    const Key pair{select::kDestination, select::kDestinationPort};
    Set other_addresses = addresses();
    other_addresses.key = {Field::kAddress, Field::kPort};
    Set counting_addresses = addresses();
    counting_addresses.counts = true;
    Set without_counts = counters();
    without_counts.counts = false;
    return {
        {"the table again", {AddTable{}}, 0},
        {"delete the table", {DeleteTable{}}, 0},
        {"delete it twice", {DeleteTable{}, DeleteTable{}}, ENOENT},
        {"delete it and make it anew, empty", {DeleteTable{}, AddTable{}, add(address(9))}, ENOENT},
        {"a set again", {AddSet{addresses()}}, 0},
        {"a set again with another key", {AddSet{other_addresses}}, EEXIST},
        {"a set that counts", {AddSet{counters()}, add(address(1, "counters"))}, 0},
        {"a set that counts, again", {AddSet{counters()}, AddSet{counters()}}, 0},
        {"a set that counts, again without", {AddSet{counters()}, AddSet{without_counts}}, EEXIST},
        {"a set again, and is to count", {AddSet{counting_addresses}}, EEXIST},
        {"a chain again", {AddChain{"plain", std::nullopt}}, 0},
        {"a base chain again", {base_chain(ChainType::kFilter, Hook::kPrerouting, 0)}, 0},
        {"a base chain by its name", {AddChain{"base", std::nullopt}}, 0},
        {"a base chain with another priority", {base_chain(ChainType::kFilter, Hook::kPrerouting, 1)}, EOPNOTSUPP},
        {"a base chain with another hook", {base_chain(ChainType::kFilter, Hook::kInput, 0)}, EOPNOTSUPP},
        {"a base chain with another type", {base_chain(ChainType::kNat, Hook::kPrerouting, 0)}, EEXIST},
        {"a chain that becomes a base chain", {AddChain{"plain", BaseChain{}}}, EOPNOTSUPP},
        {"flush", {FlushChain{"plain"}}, 0},
        {"flush no chain", {FlushChain{"none"}}, ENOENT},
        {"a rule", {AddRule{"plain", looks_up(destination, "addresses")}}, 0},
        {"a rule in no chain", {AddRule{"none", rule().drop()}}, ENOENT},
        {"a jump", {AddRule{"base", rule().jump("plain")}}, 0},
        {"a jump to no chain", {AddRule{"base", rule().jump("none")}}, ENOENT},
        {"a goto to no chain", {AddRule{"base", rule().go_to("none")}}, ENOENT},
        {"a jump to a base chain", {AddRule{"plain", rule().jump("base")}}, EOPNOTSUPP},
        {"a jump to a chain of the same batch",
         {AddChain{"new", std::nullopt}, AddRule{"base", rule().jump("new")}},
         0},
        {"a look-up in no set", {AddRule{"plain", looks_up(destination, "none")}}, ENOENT},
        {"a map as a set", {AddRule{"plain", looks_up(pair, "endpoints")}}, 0},
        {"a set as a map", {AddRule{"plain", rule().dnat_from(destination, "addresses")}}, EINVAL},
        {"a set updated as a map", {AddRule{"plain", updates(destination, "addresses")}}, EOPNOTSUPP},
        {"a map without time-out updated by a rule", {AddRule{"plain", updates(pair, "endpoints")}}, 0},
        {"a map with a time-out", {AddRule{"plain", updates(pair, "stuck")}}, 0},
        {"a chain deleted", {DeleteChain{"plain"}}, 0},
        {"a chain deleted with its rules", {AddRule{"plain", rule().drop()}, DeleteChain{"plain"}}, 0},
        {"a base chain deleted", {DeleteChain{"base"}}, 0},
        {"no chain deleted", {DeleteChain{"none"}}, ENOENT},
        {"a chain deleted that others jump to", {AddRule{"base", rule().jump("plain")}, DeleteChain{"plain"}}, EBUSY},
        {"the same, flushed first",
         {AddRule{"base", rule().jump("plain")}, FlushChain{"base"}, DeleteChain{"plain"}},
         0},
        {"a base chain made anew with another hook",
         {DeleteChain{"base"}, base_chain(ChainType::kFilter, Hook::kInput, 7)},
         0},
        {"a set deleted with its elements", {DeleteSet{"addresses"}}, 0},
        {"no set deleted", {DeleteSet{"none"}}, ENOENT},
        {"a set deleted that rules look into",
         {AddRule{"plain", looks_up(destination, "addresses")}, DeleteSet{"addresses"}},
         EBUSY},
        {"the same, with the rules gone",
         {AddRule{"plain", looks_up(destination, "addresses")}, FlushChain{"plain"}, DeleteSet{"addresses"}},
         0},
        {"an element", {add(address(2))}, 0},
        {"an element again", {add(address(1))}, 0},
        {"an element of no set", {add(address(1, "none"))}, ENOENT},
        {"an element with a key too long", {add(elements_of("addresses", 8, 0, {10, 0, 0, 2, 0, 80, 0, 0}))}, EINVAL},
        {"an element of a set, with data", {add(elements_of("addresses", 4, 4, {10, 0, 0, 2, 0, 0, 0, 1}))}, EINVAL},
        {"an element of a map, without data",
         {add(elements_of("endpoints", 8, 0, {10, 0, 0, 9, 0, 80, 0, 0}))},
         EINVAL},
        {"an element of a map again", {add(endpoint(80))}, 0},
        {"an element of a map with other data", {add(endpoint(81))}, EEXIST},
        {"the same, deleted first", {remove(endpoint(80)), add(endpoint(81))}, 0},
        {"the same, deleted by its key alone", {remove(endpoint(99)), add(endpoint(81))}, 0},
        {"an element deleted", {remove(address(1))}, 0},
        {"an element deleted that is not there", {remove(address(2))}, ENOENT},
        {"an element deleted twice", {remove(address(1)), remove(address(1))}, ENOENT},
        {"an element added and deleted", {add(address(2)), remove(address(2))}, 0},
        {"an element deleted of no set", {remove(address(1, "none"))}, ENOENT},
        {"an element deleted with a key too long",
         {remove(elements_of("addresses", 8, 0, {10, 0, 0, 1, 0, 0, 0, 0}))},
         EINVAL},
        {"more elements than the set may have", {add(address(3, "two"))}, ENFILE},
        {"one deleted, one added, at the limit", {remove(address(1, "two")), add(address(3, "two"))}, 0},
    };
}

}  // namespace ghostip::kernel::nft::testing

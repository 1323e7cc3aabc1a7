#include "dataplane/ipvs/writer.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <optional>
#include <utility>

#include "dataplane/ipvs/sets.h"

namespace ghostip::dataplane::ipvs {

using kernel::ipvs::Command;
using kernel::ipvs::Destination;
using kernel::ipvs::Verb;

namespace {

// So that others who write are not held up for long.
constexpr std::size_t kCommandsAtOnce = 4096;

const Destination* find_destination(const Server& server, const kernel::ipvs::DestinationKey& key) {
    const auto found = std::lower_bound(server.destinations.begin(), server.destinations.end(), key,
                                        [](const auto& one, const auto& wanted) { return one.key < wanted; });
    return found != server.destinations.end() && found->key == key ? &*found : nullptr;
}

Command command(Verb verb, const kernel::ipvs::Service& service, const Destination& destination = {}) {
    return {verb, service, destination};
}

// Does one of the entries say that the virtual server is ours?
bool have_name_of(const std::vector<SetEntry>& entries, const kernel::ipvs::ServiceKey& key) {
    const kernel::ipset::Element element{key.address, key.protocol, key.port, std::nullopt};
    return std::any_of(kNamingSets.begin(), kNamingSets.end(), [&](const auto set) {
        return std::binary_search(entries.begin(), entries.end(), SetEntry{set, element});
    });
}

std::vector<SetEntry> difference(const std::vector<SetEntry>& all, const std::vector<SetEntry>& without) {
    std::vector<SetEntry> left;
    std::set_difference(all.begin(), all.end(), without.begin(), without.end(), std::back_inserter(left));
    return left;
}

}  // namespace

Result<Writer::Refusals> Writer::apply(std::span<const Command> commands) {
    Refusals all;
    for (std::size_t begin = 0; begin < commands.size(); begin += kCommandsAtOnce) {
        const auto some = commands.subspan(begin, std::min(kCommandsAtOnce, commands.size() - begin));
        const auto start = std::chrono::steady_clock::now();
        ASSIGN_OR_RETURN(auto refusals, kernel_.ipvs->apply(some));
        outcome_.committed(start);
        for (auto& refusal : refusals) {
            refusal.command += begin;
            all.push_back(std::move(refusal));
        }
    }
    std::size_t refused = 0;
    for (std::size_t i = 0; i < commands.size(); ++i) {
        if (refused < all.size() && all[refused].command == i) {
            ++refused;
            continue;
        }
        const auto& one = commands[i];
        if (one.verb == Verb::kNewService) made_.insert(one.service.key);
        const bool removes = one.verb == Verb::kDeleteService || one.verb == Verb::kDeleteDestination;
        const bool adds = one.verb == Verb::kNewService || one.verb == Verb::kNewDestination;
        outcome_.elements_added += adds ? 1 : 0;
        outcome_.elements_deleted += removes ? 1 : 0;
    }
    return all;
}

Result<void> Writer::change_sets(std::span<const SetEntry> entries, bool add, const RefusedEntry& refused) {
    std::array<std::vector<kernel::ipset::Element>, kSetCount> elements;
    std::array<std::vector<std::size_t>, kSetCount> indices;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        elements[static_cast<std::size_t>(entries[i].set)].push_back(entries[i].element);
        indices[static_cast<std::size_t>(entries[i].set)].push_back(i);
    }
    // What names a virtual server comes first and goes last (names.h).
    for (std::size_t i = 0; i < kSetCount; ++i) {
        const auto set = add ? i : kSetCount - 1 - i;
        const auto& row = set_rows()[set];
        if (elements[set].empty()) continue;
        const auto name = set_name(row.set, family_);
        const auto start = std::chrono::steady_clock::now();
        ASSIGN_OR_RETURN(auto refusals, add ? kernel_.sets->add(name, row.type, elements[set])
                                            : kernel_.sets->remove(name, row.type, elements[set]));
        const bool full = std::any_of(refusals.begin(), refusals.end(),
                                      [](const auto& refusal) { return refusal.error.code == ENOSPC; });
        if (full) {
            RETURN_IF_ERROR(widen(*kernel_.sets, row.set, family_));
            ASSIGN_OR_RETURN(refusals, kernel_.sets->add(name, row.type, elements[set]));
        }
        outcome_.committed(start);
        (add ? outcome_.elements_added : outcome_.elements_deleted) += elements[set].size() - refusals.size();
        for (const auto& refusal : refusals) {
            if (!refused) return refusal.error;
            refused(indices[set][refusal.element], refusal.error);
        }
    }
    return {};
}

Result<void> Writer::add(std::span<const SetEntry> entries) { return change_sets(entries, true, nullptr); }

Result<void> Writer::remove(std::span<const SetEntry> entries) { return change_sets(entries, false, nullptr); }

void Writer::set_aside(const FrontChange& change, std::size_t index, std::string_view reason) {
    // The first reason counts.
    asides_.emplace(index, Aside::of(change.after, reason, !change.before.servers.empty()));
}

Result<void> Writer::add_entries(const std::vector<FrontChange>& changes) {
    std::vector<SetEntry> entries;
    std::vector<std::size_t> owners;
    for (std::size_t i = 0; i < changes.size(); ++i)
        for (const auto& entry : difference(changes[i].after.entries, changes[i].before.entries)) {
            entries.push_back(entry);
            owners.push_back(i);
        }
    return change_sets(entries, true, [&](std::size_t entry, const Error& error) {
        set_aside(changes[owners[entry]], owners[entry], error.message);
    });
}

// Before their destinations: one that is there already and not ours must not get any.
Result<void> Writer::make_services(std::vector<FrontChange>& changes) {
    std::set<std::size_t> left;
    for (std::size_t i = 0; i < changes.size(); ++i)
        if (!asides_.contains(i)) left.insert(i);
    // A second time with the default scheduler, and no third: nothing takes its place.
    while (!left.empty()) {
        Batch batch;
        for (const auto index : left)
            for (const auto& server : changes[index].after.servers) {
                const auto* held = find_server(changes[index].before, server.service.key);
                if (held == nullptr)
                    batch.put(command(Verb::kNewService, server.service), index);
                else if (held->service != server.service)
                    batch.put(command(Verb::kSetService, server.service), index);
            }
        ASSIGN_OR_RETURN(const auto refusals, apply(batch.commands));
        left.clear();
        std::optional<Error> unseen;
        for (const auto& refusal : refusals) {
            const auto& refused = batch.commands[refusal.command];
            const auto index = batch.owners[refusal.command];
            const auto& service = refused.service;
            if (refusal.error.code == ENOENT && service.scheduler != options_.scheduler) {
                limits_.unknown_schedulers.insert(service.scheduler);
                left.insert(index);
            } else if (refused.verb == Verb::kNewService && refusal.error.code == EEXIST) {
                if (have_name_of(changes[index].before.entries, service.key))
                    unseen = Error{fmt::format("the virtual server {} was not seen, and is there", text(service.key)),
                                   EAGAIN};
                else
                    leave_to_its_owner(changes[index], index, service.key);
            } else {
                set_aside(changes[index], index, refusal.error.message);
            }
        }
        if (unseen) return *unseen;
        for (const auto index : left) {
            for (auto& server : changes[index].after.servers) {
                auto& service = server.service;
                if (!limits_.unknown_schedulers.contains(service.scheduler)) continue;
                service.scheduler = options_.scheduler;
                service.flags = (service.flags & kernel::ipvs::kPersistent) | scheduler_flags(service.scheduler);
            }
        }
    }
    return {};
}

// Made since we looked. It gets no endpoints of ours, and no element may say that it is ours. A node port goes on at
// its other addresses.
void Writer::leave_to_its_owner(FrontChange& change, std::size_t index, const kernel::ipvs::ServiceKey& key) {
    foreign_.emplace(index, key);
    const auto reason = somebody_else_has(key);
    if (!change.after.key.node_port) return set_aside(change, index, reason);
    outcome_.set_aside.push_back({change.after.name.text(), fmt::format("{}: {}", change.after.key.text(), reason)});
    limits_.taken.insert_or_assign(key, reason);
    const auto wanted = change.after.entries;
    leave_out(change.after, key);
    const auto gone = difference(difference(wanted, change.after.entries), change.before.entries);
    withdrawn_.insert(withdrawn_.end(), gone.begin(), gone.end());
}

// IPVS asks of an address only at that moment: an address that is a broadcast address here may be none elsewhere.
void Writer::leave_out_endpoint(Front& front, const net::IpAddress& address, const Error& error) {
    std::size_t left_out = 0;
    for (auto& server : front.servers)
        left_out += std::erase_if(server.destinations, [&](const auto& one) { return one.key.address == address; });
    if (left_out == 0) return;
    outcome_.set_aside.push_back({front.name.text(), fmt::format("endpoint {}: {}", address.text(), error.message)});
    limits_.refused_endpoints.insert_or_assign(address, error.message);
}

Result<void> Writer::make_destinations(std::vector<FrontChange>& changes) {
    Batch batch;
    for (std::size_t i = 0; i < changes.size(); ++i) {
        if (goes_again(i)) continue;
        for (const auto& server : changes[i].after.servers) {
            const auto* held = find_server(changes[i].before, server.service.key);
            for (const auto& destination : server.destinations) {
                const auto* there = held == nullptr ? nullptr : find_destination(*held, destination.key);
                const bool drains_still = draining_.contains({server.service.key, destination.key});
                if (there == nullptr && !drains_still)
                    batch.put(command(Verb::kNewDestination, server.service, destination), i);
                else if (there == nullptr || *there != destination)
                    batch.put(command(Verb::kSetDestination, server.service, destination), i);
            }
        }
    }
    ASSIGN_OR_RETURN(const auto refusals, apply(batch.commands));
    for (const auto& refusal : refusals) {
        const auto index = batch.owners[refusal.command];
        const auto& refused = batch.commands[refusal.command];
        if (refused.verb == Verb::kNewDestination && refusal.error.code == EINVAL)
            leave_out_endpoint(changes[index].after, refused.destination.key.address, refusal.error);
        else
            set_aside(changes[index], index, refusal.error.message);
    }
    for (std::size_t i = 0; i < changes.size(); ++i)
        if (!asides_.contains(i))
            for (const auto& server : changes[i].after.servers)
                for (const auto& destination : server.destinations)
                    draining_.erase({server.service.key, destination.key});
    return {};
}

Result<void> Writer::arrive(std::vector<FrontChange>& changes) {
    const auto made = [&]() -> Result<void> {
        RETURN_IF_ERROR(add_entries(changes));
        RETURN_IF_ERROR(make_services(changes));
        return make_destinations(changes);
    }();
    // Whatever else failed: an element of ours at somebody else's virtual server would make it ours at the next look.
    const auto undone = undo(changes);
    RETURN_IF_ERROR(made);
    RETURN_IF_ERROR(undone);
    for (const auto& [index, aside] : asides_)
        if (aside.landed && refused_mode_ == Refused::kError) return fail("{}: {}", aside.name.text(), aside.reason);
    return {};
}

// What is new and was not taken as a whole goes again; of somebody else's virtual server only our elements. Those that
// were there before stay: they may name what is ours.
Result<void> Writer::undo(const std::vector<FrontChange>& changes) {
    std::vector<Command> commands;
    auto entries = std::exchange(withdrawn_, {});
    for (const auto& [index, aside] : asides_) {
        const auto& change = changes[index];
        outcome_.set_aside.push_back({aside.name.text(), aside.reason});
        if (aside.landed) continue;
        for (const auto& server : change.after.servers)
            if (made_.contains(server.service.key) && !foreign_.contains({index, server.service.key}))
                commands.push_back(command(Verb::kDeleteService, server.service));
        const auto came = difference(change.after.entries, change.before.entries);
        entries.insert(entries.end(), came.begin(), came.end());
    }
    RETURN_IF_ERROR(apply(commands));
    return remove(entries);
}

std::set<Leaving>::iterator Writer::after_those_of(const kernel::ipvs::ServiceKey& key) {
    auto last = draining_.lower_bound({key, {}});
    while (last != draining_.end() && last->service == key) ++last;
    return last;
}

// The virtual server's scheduler was another one when they began to leave.
void Writer::end_waiting(const Server& server, std::vector<Command>& commands) {
    const auto& key = server.service.key;
    const auto last = after_those_of(key);
    for (auto one = draining_.lower_bound({key, {}}); one != last; one = draining_.erase(one)) {
        Destination destination;
        destination.key = one->destination;
        commands.push_back(command(Verb::kDeleteDestination, server.service, destination));
    }
}

Result<void> Writer::depart(const std::vector<FrontChange>& changes) {
    std::vector<Command> commands;
    std::vector<SetEntry> entries;
    std::set<Leaving> leaving;
    for (std::size_t i = 0; i < changes.size(); ++i) {
        if (goes_again(i)) continue;
        const auto& [before, after] = changes[i];
        for (const auto& server : before.servers) {
            const auto& key = server.service.key;
            const auto* wanted = find_server(after, key);
            if (wanted == nullptr) {
                commands.push_back(command(Verb::kDeleteService, server.service));
                draining_.erase(draining_.lower_bound({key, {}}), after_those_of(key));
                continue;
            }
            for (auto destination : server.destinations) {
                if (find_destination(*wanted, destination.key) != nullptr) continue;
                const bool stays = drains(wanted->service);
                if (stays) leaving.insert({key, destination.key});
                destination.weight = 0;
                commands.push_back(
                    command(stays ? Verb::kSetDestination : Verb::kDeleteDestination, server.service, destination));
            }
            if (!drains(wanted->service)) end_waiting(*wanted, commands);
        }
        const auto gone = difference(before.entries, after.entries);
        entries.insert(entries.end(), gone.begin(), gone.end());
    }
    ASSIGN_OR_RETURN(const auto refusals, apply(commands));
    for (const auto& refusal : refusals)
        if (refusal.error.code != ENOENT && refusal.error.code != ESRCH) return refusal.error;  // else it is gone
    RETURN_IF_ERROR(drain(leaving));
    return remove(entries);
}

// Weight 0 came before, so that the number of connections only falls.
Result<void> Writer::drain(const std::set<Leaving>& leaving) {
    std::vector<Command> commands;
    for (auto one = leaving.begin(); one != leaving.end();) {
        const auto key = one->service;
        ASSIGN_OR_RETURN(const auto behind, kernel_.ipvs->destinations(key));
        for (; one != leaving.end() && one->service == key; ++one) {
            const auto there = std::find_if(behind.begin(), behind.end(),
                                            [&](const auto& each) { return each.key == one->destination; });
            const bool busy = there != behind.end() && there->connections.active + there->connections.inactive > 0;
            if (busy) {
                draining_.insert(*one);
                continue;
            }
            draining_.erase(*one);
            if (there == behind.end()) continue;
            kernel::ipvs::Service service;
            service.key = key;
            commands.push_back(command(Verb::kDeleteDestination, service, *there));
        }
    }
    if (commands.empty()) return {};
    ASSIGN_OR_RETURN(const auto refusals, apply(commands));
    for (const auto& refusal : refusals)
        if (refusal.error.code != ENOENT && refusal.error.code != ESRCH) return refusal.error;
    return {};
}

}  // namespace ghostip::dataplane::ipvs

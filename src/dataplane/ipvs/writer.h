// Carries out changes of fronts: elements of sets, virtual servers and destinations, in batches, in an order in which
// no packet goes wrong. What comes is complete before packets are led to it; what goes is left by packets first.
//
//    elements in  ->  servers and destinations in  ->  [rules, addresses]  ->  destinations and servers out  ->
//    elements out
//
// The dataplane has rules and addresses written in between. One thread.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "dataplane/dataplane.h"
#include "dataplane/ipvs/compare.h"

namespace ghostip::dataplane::ipvs {

class Writer {
  public:
    // What to do where the kernel refuses a change of what it has already.
    enum class Refused : std::uint8_t { kError, kSetAside };

    Writer(const Kernel& kernel, net::Family family, const IpvsOptions& options, Refused refused, Limits& limits,
           std::set<Leaving>& draining, Outcome& outcome)
        : kernel_(kernel),
          family_(family),
          options_(options),
          refused_mode_(refused),
          limits_(limits),
          draining_(draining),
          outcome_(outcome) {}

    // May put the default scheduler in the place of one that the kernel does not know, and leave out endpoints that it
    // does not take: both are in the limits then. Fronts that the kernel did not take are in `asides()`, by index; of
    // those that are new nothing is left.
    [[nodiscard]] Result<void> arrive(std::vector<FrontChange>& changes);
    [[nodiscard]] const std::map<std::size_t, Aside>& asides() const { return asides_; }
    // Of the same changes. Destinations with connections stay, and are in `draining` then.
    [[nodiscard]] Result<void> depart(const std::vector<FrontChange>& changes);

    // Of no front.
    [[nodiscard]] Result<void> add(std::span<const SetEntry> entries);
    [[nodiscard]] Result<void> remove(std::span<const SetEntry> entries);
    // Deletes of these destinations those that have no connections left; the others are in `draining` then.
    [[nodiscard]] Result<void> drain(const std::set<Leaving>& leaving);

  private:
    // Commands with the change that each is for.
    struct Batch {
        std::vector<kernel::ipvs::Command> commands;
        std::vector<std::size_t> owners;

        void put(kernel::ipvs::Command command, std::size_t owner) {
            commands.push_back(std::move(command));
            owners.push_back(owner);
        }
    };
    using RefusedEntry = std::function<void(std::size_t entry, const Error& error)>;
    using Refusals = std::vector<kernel::ipvs::Refusal>;

    [[nodiscard]] Result<Refusals> apply(std::span<const kernel::ipvs::Command> commands);
    // Without `refused` a refusal is an error.
    [[nodiscard]] Result<void> change_sets(std::span<const SetEntry> entries, bool add, const RefusedEntry& refused);
    [[nodiscard]] Result<void> add_entries(const std::vector<FrontChange>& changes);
    [[nodiscard]] Result<void> make_services(std::vector<FrontChange>& changes);
    [[nodiscard]] Result<void> make_destinations(std::vector<FrontChange>& changes);
    void leave_to_its_owner(FrontChange& change, std::size_t index, const kernel::ipvs::ServiceKey& key);
    void leave_out_endpoint(Front& front, const net::IpAddress& address, const Error& error);
    [[nodiscard]] Result<void> undo(const std::vector<FrontChange>& changes);
    [[nodiscard]] std::set<Leaving>::iterator after_those_of(const kernel::ipvs::ServiceKey& key);
    void end_waiting(const Server& server, std::vector<kernel::ipvs::Command>& commands);
    // Of what is new and set aside nothing is to be there; what was there goes on, as far as the kernel lets it.
    [[nodiscard]] bool goes_again(std::size_t index) const {
        const auto aside = asides_.find(index);
        return aside != asides_.end() && !aside->second.landed;
    }
    void set_aside(const FrontChange& change, std::size_t index, std::string_view reason);

    const Kernel& kernel_;
    const net::Family family_;
    const IpvsOptions& options_;
    const Refused refused_mode_;
    Limits& limits_;
    std::set<Leaving>& draining_;
    Outcome& outcome_;
    std::map<std::size_t, Aside> asides_;
    std::set<kernel::ipvs::ServiceKey> made_;  // virtual servers; others are never taken away again
    // That somebody else had, by the change that wanted them.
    std::set<std::pair<std::size_t, kernel::ipvs::ServiceKey>> foreign_;
    std::vector<SetEntry> withdrawn_;  // elements of ours that were written for them
};

}  // namespace ghostip::dataplane::ipvs

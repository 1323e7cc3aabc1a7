// Listeners of this process to which clients come by themselves: node ports that the kernel is not told of, and those
// that somebody asked for by name. Who may, and who answers, says the plan. Of one family; one thread.
#pragma once

#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dataplane/carried_services.h"
#include "dataplane/dataplane.h"

namespace ghostip::dataplane {

enum class NodePortsAt : std::uint8_t {
    kNowhere,
    kLoopback,  // 127.0.0.1 or ::1
    kAccepted,  // where NodeRules::node_ports says
};

class DirectListeners {
  public:
    DirectListeners(const CarriedServices& services, NodePortsAt node_ports, std::vector<ListenRequest> requests)
        : services_(services), node_ports_(node_ports), requests_(std::move(requests)) {}
    ~DirectListeners();
    DirectListeners(const DirectListeners&) = delete;
    DirectListeners& operator=(const DirectListeners&) = delete;

    // Opens what the services want now and closes the rest. A delta that concerns no listener costs nothing.
    void follow();
    void follow(const plan::Delta& delta);
    using Failed = std::map<std::string, std::string>;  // by the listener's name: why
    // Listeners that cannot be had; tried again with every call.
    [[nodiscard]] const Failed& failed() const { return failed_; }
    // These, and those whose place another one has that was asked for.
    [[nodiscard]] Failed aside() const;
    [[nodiscard]] std::size_t size() const { return open_.size(); }

  private:
    struct Place {
        relay::SocketAddress at;
        net::Protocol protocol = net::Protocol::kTcp;

        [[nodiscard]] std::string text() const;
        friend auto operator<=>(const Place&, const Place&) = default;
    };
    struct Wanted {
        plan::DestinationKey as;  // the destination whose clients these are
        std::string whose;        // for people: the service port, the node port
    };
    // Whose clients they are may change while the listener stays: clients wait in its backlog.
    class As {
      public:
        explicit As(const plan::DestinationKey& key) : key_(key) {}
        void set(const plan::DestinationKey& key) {
            const std::lock_guard lock(mutex_);
            key_ = key;
        }
        [[nodiscard]] plan::DestinationKey get() const {
            const std::lock_guard lock(mutex_);
            return key_;
        }

      private:
        mutable std::mutex mutex_;
        plan::DestinationKey key_;  // guarded by mutex_
    };
    struct Open {
        std::shared_ptr<As> as;  // the listener's threads ask it
        relay::ListenerId listener{};
    };
    // The first who asks for a place has it.
    struct Places {
        std::map<Place, Wanted> of;
        Failed taken;  // who came later

        void add(const Place& place, Wanted wanted);
    };

    [[nodiscard]] bool concerned(const plan::ServicePortPlanPtr& plan) const;
    [[nodiscard]] Places wanted() const;
    [[nodiscard]] bool somebody_answers(const plan::Destination& destination) const;
    void add_node_ports(const plan::ServicePortPlan& plan, const plan::DestinationKey& key, Places& places) const;
    [[nodiscard]] bool asked_for(const ListenRequest& request, const plan::ServicePortPlan& plan) const;
    [[nodiscard]] std::vector<net::IpAddress> node_port_addresses() const;
    [[nodiscard]] Result<Open> open(const Place& place, const Wanted& wanted) const;

    const CarriedServices& services_;
    const NodePortsAt node_ports_;
    const std::vector<ListenRequest> requests_;
    std::map<Place, Open> open_;
    Failed failed_;
    Failed taken_;
};

}  // namespace ghostip::dataplane

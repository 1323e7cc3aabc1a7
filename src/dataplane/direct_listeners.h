// Listeners of this process to which clients come by themselves: node ports that the kernel is not told of, and those
// that somebody asked for by name. Who may, and who answers, says the plan. Of one family; one thread.
#pragma once

#include <compare>
#include <map>
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
    // Listeners that cannot be had; tried again with every call.
    [[nodiscard]] const std::map<std::string, std::string>& failed() const { return failed_; }
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
    struct Open {
        Wanted wanted;
        relay::ListenerId listener{};
    };
    using Places = std::map<Place, Wanted>;

    [[nodiscard]] bool concerned(const plan::ServicePortPlanPtr& plan) const;
    [[nodiscard]] Places wanted() const;
    [[nodiscard]] bool somebody_answers(const plan::Destination& destination) const;
    void add_node_ports(const plan::ServicePortPlan& plan, const plan::DestinationKey& key, Places& places) const;
    [[nodiscard]] bool asked_for(const ListenRequest& request, const plan::ServicePortPlan& plan) const;
    [[nodiscard]] std::vector<net::IpAddress> node_port_addresses() const;
    [[nodiscard]] Result<relay::ListenerId> open(const Place& place, const Wanted& wanted) const;

    const CarriedServices& services_;
    const NodePortsAt node_ports_;
    const std::vector<ListenRequest> requests_;
    std::map<Place, Open> open_;
    std::map<std::string, std::string> failed_;  // by the listener's name: why
};

}  // namespace ghostip::dataplane

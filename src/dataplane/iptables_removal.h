// Which chains of one table of iptables go, and which have to stay, because rules of others lead into them. A pure
// function of what iptables-save says and of a list of chains.
//
// Chains on the list go, and so do the jumps to them from built-in chains. Where a rule of somebody else leads into one
// (a network plugin that marks for masquerading with KUBE-MARK-MASQ), that chain stays, with all that it needs.
#pragma once

#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ghostip::dataplane {

struct Removal {
    std::string restore;  // for iptables-restore --noflush; empty: there is nothing to remove
    std::size_t chains = 0;
    std::size_t jumps = 0;
    std::vector<std::string> kept;  // one sentence each: what stays, and whose rule needs it
};

class TableRemoval {
  public:
    // Is the chain, which is not built in, on the list?
    using IsListed = std::function<bool(std::string_view chain)>;

    TableRemoval(std::string table, IsListed is_listed) : name_(std::move(table)), is_listed_(std::move(is_listed)) {}

    // A line of iptables-save within this table: a chain or a rule. Others are passed over.
    void take(std::string_view line);
    // When all lines were taken.
    void add_to(Removal& removal) const;

  private:
    struct Rule {
        std::string chain;
        std::string target;  // of -j or -g; empty: none
        std::string text;    // as saved, from its chain's name on
        bool plain_jump = false;
    };

    [[nodiscard]] static Rule parse(std::string_view line);
    void take_chain(std::string_view line);
    [[nodiscard]] std::set<std::string> kept(Removal& removal) const;

    const std::string name_;
    const IsListed is_listed_;
    std::set<std::string> built_in_;
    std::set<std::string> listed_;  // on the list and there
    std::vector<Rule> rules_;       // that jump to one of those, or away from one
};

// Whose are the chains that kube-proxy's ipvs mode and ours both have? kube-proxy writes them anew when it takes a node
// back, and knows nothing of what else is ours: that still stands there then.
class IpvsOwner {
  public:
    // A line of iptables-save within table nat.
    void take(std::string_view line);
    // When all lines were taken: its rules stand there, and none of them leads on to ours.
    [[nodiscard]] bool is_kube_proxy() const { return balances_ && !leads_to_ours_; }

  private:
    bool balances_ = false;
    bool leads_to_ours_ = false;
};

}  // namespace ghostip::dataplane

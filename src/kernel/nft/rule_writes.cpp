#include "kernel/nft/rule_writes.h"

#include <algorithm>
#include <utility>

#include "kernel/netlink/messages.h"

namespace ghostip::kernel::nft {

RuleWrites::RuleWrites(Concerns concerns, IsOurs is_ours)
    : concerns_(std::move(concerns)), is_ours_(std::move(is_ours)) {
    forget();
}

void RuleWrites::forget() {
    open_ = {};
    open_[1].family = net::Family::kIpv6;
}

void RuleWrites::take(std::span<const std::uint8_t> datagram, std::vector<RuleWrite>& out) {
    for (const nlmsghdr* message : netlink::messages(datagram.data(), datagram.size()))
        if (const auto said = read_announcement(message)) take_message(*said, out);
}

void RuleWrites::take_message(const Announcement& said, std::vector<RuleWrite>& out) {
    if (said.what == Announcement::What::kEnd) {
        const bool nothing = std::all_of(open_.begin(), open_.end(), [](const auto& write) { return write.empty(); });
        // Where notifications were lost, the end of ours may follow the beginning of another's.
        if (!nothing && !is_ours_(said.port_id)) close(said.process_id, said.process_name, out);
        return;
    }
    if (!concerns_(said) || is_ours_(said.port_id)) return;
    RuleWrite& write = open_[said.family == net::Family::kIpv4 ? 0 : 1];
    RuleChange change{said.what, std::string(said.table), std::string(said.chain),
                      std::string(said.target.value_or(std::string_view())), 1};
    if (!write.changes.empty()) {
        RuleChange& last = write.changes.back();
        change.count = last.count;
        if (change == last && write.more == 0) {
            ++last.count;
            return;
        }
        change.count = 1;
    }
    if (write.changes.size() == kMostChanges)
        ++write.more;
    else
        write.changes.push_back(std::move(change));
}

void RuleWrites::close(std::uint32_t process_id, std::string_view process_name, std::vector<RuleWrite>& out) {
    for (RuleWrite& write : open_) {
        if (write.empty()) continue;
        write.process_id = process_id;
        write.process_name = process_name;
        out.push_back(std::move(write));
    }
    forget();
}

void RuleWrites::drained(std::vector<RuleWrite>& out) {
    if (!lost_) return;
    for (RuleWrite& write : open_) write.lost = true;
    close(0, {}, out);
    lost_ = false;
}

}  // namespace ghostip::kernel::nft

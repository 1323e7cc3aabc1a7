#include "kernel/nft/foreign_write.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "kernel/netlink/attributes.h"
#include "kernel/netlink/messages.h"
#include "kernel/nft/announcement.h"

namespace ghostip::kernel::nft {
namespace {

constexpr std::size_t kWord = 4;

using netlink::bytes_of;
using netlink::find;
using netlink::text_of;
using What = Announcement::What;

std::vector<std::uint8_t> key_of(const nlattr* element) {
    const nlattr* value = find(find(element, NFTA_SET_ELEM_KEY), NFTA_DATA_VALUE);
    if (value == nullptr) return {};
    const std::string_view bytes = bytes_of(value);
    std::vector<std::uint8_t> padded(bytes.begin(), bytes.end());
    padded.resize((padded.size() + kWord - 1) / kWord * kWord);
    return padded;
}

}  // namespace

void merge(ForeignWrite& into, ForeignWrite more) {
    into.table |= more.table;
    into.structure |= more.structure;
    into.added += more.added;
    into.deleted += more.deleted;
    into.lost |= more.lost;
    into.overflow |= more.overflow;
    const std::size_t room = kMaxTouched - std::min(kMaxTouched, into.elements.size());
    if (more.elements.size() > room) {
        into.overflow = true;
        more.elements.resize(room);
    }
    into.elements.insert(into.elements.end(), std::make_move_iterator(more.elements.begin()),
                         std::make_move_iterator(more.elements.end()));
}

void ForeignWrites::forget() {
    open_ = {};
    open_[1].family = net::Family::kIpv6;
}

void ForeignWrites::take(std::span<const std::uint8_t> datagram, std::vector<ForeignWrite>& out) {
    for (const nlmsghdr* message : netlink::messages(datagram.data(), datagram.size()))
        if (!own_ports_.contains(message->nlmsg_pid)) take_message(message, out);
}

void ForeignWrites::take_message(const nlmsghdr* message, std::vector<ForeignWrite>& out) {
    const auto said = read_announcement(message);
    if (!said) return;
    if (said->what == What::kEnd) return close({said->process_id, std::string(said->process_name)}, out);
    if (said->table != table_) return;
    ForeignWrite& write = open_[said->family == net::Family::kIpv4 ? 0 : 1];
    switch (said->what) {
        case What::kTableAdded:
        case What::kTableDeleted: write.table = true; break;
        case What::kElementsAdded: take_elements(message, Touched::How::kAdded, write); break;
        case What::kElementsDeleted: take_elements(message, Touched::How::kDeleted, write); break;
        default: write.structure = true;
    }
}

void ForeignWrites::take_elements(const nlmsghdr* message, Touched::How how, ForeignWrite& write) {
    const auto attributes = netlink::attributes(message, sizeof(nfgenmsg));
    const nlattr* set = find(attributes, NFTA_SET_ELEM_LIST_SET);
    const nlattr* list = find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS);
    if (set == nullptr || list == nullptr) return;
    for (const nlattr* element : netlink::nested(list)) {
        ++(how == Touched::How::kAdded ? write.added : write.deleted);
        if (write.elements.size() < kMaxTouched)
            write.elements.push_back({std::string(text_of(set)), key_of(element), how});
        else
            write.overflow = true;
    }
}

void ForeignWrites::close(const Writer& writer, std::vector<ForeignWrite>& out) {
    for (ForeignWrite& write : open_) {
        if (write.empty()) continue;
        write.process_id = writer.process_id;
        write.process_name = writer.process_name;
        if (lost_) last_writer_ = writer;
        out.push_back(std::move(write));
    }
    forget();
}

void ForeignWrites::lost() { lost_ = true; }

void ForeignWrites::drained(std::vector<ForeignWrite>& out) {
    if (!lost_) return;
    for (ForeignWrite& write : open_) write.lost = true;
    close(Writer(last_writer_), out);
    lost_ = false;
    last_writer_ = {};
}

}  // namespace ghostip::kernel::nft

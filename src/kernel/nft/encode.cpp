#include "kernel/nft/encode.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <memory>

#include "kernel/netlink/attributes.h"
#include "kernel/nft/encode_rule.h"
#include "kernel/nft/set_userdata.h"

namespace ghostip::kernel::nft {
namespace {

// An attribute's length has 16 bits, so one list of elements must stay below 64 KiB.
constexpr std::size_t kElementListBytes = 60000;
constexpr std::size_t kElementsRoom = 512;   // around a list of elements
constexpr std::size_t kMessageRoom = 16384;  // for any other message

std::uint16_t nf_family(net::Family family) { return family == net::Family::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6; }

std::uint32_t nf_hook(Hook hook) {
    switch (hook) {
        case Hook::kPrerouting: return NF_INET_PRE_ROUTING;
        case Hook::kInput: return NF_INET_LOCAL_IN;
        case Hook::kForward: return NF_INET_FORWARD;
        case Hook::kOutput: return NF_INET_LOCAL_OUT;
        case Hook::kPostrouting: return NF_INET_POST_ROUTING;
    }
    return 0;
}

class Encoder {
  public:
    Encoder(const Batch& batch, std::uint32_t first_sequence) : batch_(batch), sequence_(first_sequence) {
        encoded_.first_sequence = first_sequence;
        std::size_t estimate = 4096;
        for (const auto& operation : batch.operations) {
            const auto* add = std::get_if<AddElements>(&operation);
            const auto* remove = std::get_if<DeleteElements>(&operation);
            const Elements* elements = add != nullptr      ? &add->elements
                                       : remove != nullptr ? &remove->elements
                                                           : nullptr;
            estimate += elements != nullptr ? elements->count() * (elements->stride() + 24) + 128 : 768;
        }
        encoded_.bytes.reserve(estimate);
    }

    void boundary(std::uint16_t type) {
        nlmsghdr* message = reserve(64);
        mnl_nlmsg_put_header(message);
        message->nlmsg_type = type;
        message->nlmsg_flags = NLM_F_REQUEST;
        message->nlmsg_seq = sequence_++;
        auto* header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
        header->nfgen_family = AF_UNSPEC;
        header->version = NFNETLINK_V0;
        header->res_id = htons(NFNL_SUBSYS_NFTABLES);
        keep(message);
    }

    void operation(std::size_t index) {
        current_ = index;
        std::visit([this](const auto& op) { put(op); }, batch_.operations[index]);
    }

    // Deletes a chain that nobody has: refused, after everything before it was checked.
    void impossible() {
        current_ = batch_.operations.size();
        nlmsghdr* message = begin(NFT_MSG_DELCHAIN, 0);
        mnl_attr_put_strz(message, NFTA_CHAIN_TABLE, batch_.table.name.c_str());
        mnl_attr_put_strz(message, NFTA_CHAIN_NAME, "no-such-chain-on-purpose");
        keep(message);
    }

    // The last message of the batch asks for an answer, so that success is known.
    EncodedBatch finish() {
        auto* last = reinterpret_cast<nlmsghdr*>(encoded_.bytes.data() + last_offset_);
        last->nlmsg_flags |= NLM_F_ACK;
        encoded_.last_sequence = last->nlmsg_seq;
        boundary(NFNL_MSG_BATCH_END);
        return std::move(encoded_);
    }

  private:
    void put(const AddTable& op) {
        std::unique_ptr<nftnl_table, void (*)(const nftnl_table*)> table(nftnl_table_alloc(), nftnl_table_free);
        nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, batch_.table.name.c_str());
        nftnl_table_set_u32(table.get(), NFTNL_TABLE_FLAGS, op.flags);
        const auto userdata = comment_userdata(batch_.table.comment);
        if (!userdata.empty())
            nftnl_table_set_data(table.get(), NFTNL_TABLE_USERDATA, userdata.data(),
                                 static_cast<std::uint32_t>(userdata.size()));
        nlmsghdr* message = begin(NFT_MSG_NEWTABLE, NLM_F_CREATE);
        nftnl_table_nlmsg_build_payload(message, table.get());
        keep(message);
    }

    void put(const DeleteTable&) {
        nlmsghdr* message = begin(NFT_MSG_DELTABLE, 0);
        mnl_attr_put_strz(message, NFTA_TABLE_NAME, batch_.table.name.c_str());
        keep(message);
    }

    void put(const AddSet& op) {
        const Set& set = op.set;
        const auto family = batch_.table.family;
        std::unique_ptr<nftnl_set, void (*)(const nftnl_set*)> handle(nftnl_set_alloc(), nftnl_set_free);
        nftnl_set* out = handle.get();
        std::uint32_t flags = 0;
        nftnl_set_set_str(out, NFTNL_SET_TABLE, batch_.table.name.c_str());
        nftnl_set_set_str(out, NFTNL_SET_NAME, set.name.c_str());
        nftnl_set_set_u32(out, NFTNL_SET_ID, ++set_id_);
        nftnl_set_set_u32(out, NFTNL_SET_KEY_TYPE, data_type(set.key, family));
        nftnl_set_set_u32(out, NFTNL_SET_KEY_LEN, static_cast<std::uint32_t>(stored_size(set.key, family)));
        if (!set.data.empty()) {
            flags |= NFT_SET_MAP;
            nftnl_set_set_u32(out, NFTNL_SET_DATA_TYPE, data_type(set.data, family));
            nftnl_set_set_u32(out, NFTNL_SET_DATA_LEN, static_cast<std::uint32_t>(stored_size(set.data, family)));
        }
        if (set.timeout_seconds != 0) {
            flags |= NFT_SET_TIMEOUT | NFT_SET_EVAL;
            nftnl_set_set_u64(out, NFTNL_SET_TIMEOUT, std::uint64_t{set.timeout_seconds} * 1000);
        }
        if (set.size != 0) nftnl_set_set_u32(out, NFTNL_SET_DESC_SIZE, set.size);
        nftnl_set_set_u32(out, NFTNL_SET_FLAGS, flags);
        // Elements that are added without one get a counter of their own, which begins at 0.
        if (set.counts) nftnl_set_add_expr(out, nftnl_expr_alloc("counter"));
        const auto userdata = set_userdata(set, family);
        nftnl_set_set_data(out, NFTNL_SET_USERDATA, userdata.data(), static_cast<std::uint32_t>(userdata.size()));
        nlmsghdr* message = begin(NFT_MSG_NEWSET, NLM_F_CREATE);
        nftnl_set_nlmsg_build_payload(message, out);
        keep(message);
    }

    void put(const AddChain& op) {
        std::unique_ptr<nftnl_chain, void (*)(const nftnl_chain*)> handle(nftnl_chain_alloc(), nftnl_chain_free);
        nftnl_chain* out = handle.get();
        nftnl_chain_set_str(out, NFTNL_CHAIN_TABLE, batch_.table.name.c_str());
        nftnl_chain_set_str(out, NFTNL_CHAIN_NAME, op.name.c_str());
        if (op.base) {
            nftnl_chain_set_str(out, NFTNL_CHAIN_TYPE, op.base->type == ChainType::kNat ? "nat" : "filter");
            nftnl_chain_set_u32(out, NFTNL_CHAIN_HOOKNUM, nf_hook(op.base->hook));
            nftnl_chain_set_s32(out, NFTNL_CHAIN_PRIO, op.base->priority);
            nftnl_chain_set_u32(out, NFTNL_CHAIN_POLICY, NF_ACCEPT);
        }
        nlmsghdr* message = begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
        nftnl_chain_nlmsg_build_payload(message, out);
        keep(message);
    }

    void put(const FlushChain& op) {
        nlmsghdr* message = begin(NFT_MSG_DELRULE, 0);
        mnl_attr_put_strz(message, NFTA_RULE_TABLE, batch_.table.name.c_str());
        mnl_attr_put_strz(message, NFTA_RULE_CHAIN, op.chain.c_str());
        keep(message);
    }

    void put(const DeleteChain& op) {
        nlmsghdr* message = begin(NFT_MSG_DELCHAIN, 0);
        mnl_attr_put_strz(message, NFTA_CHAIN_TABLE, batch_.table.name.c_str());
        mnl_attr_put_strz(message, NFTA_CHAIN_NAME, op.chain.c_str());
        keep(message);
    }

    void put(const DeleteSet& op) {
        nlmsghdr* message = begin(NFT_MSG_DELSET, 0);
        mnl_attr_put_strz(message, NFTA_SET_TABLE, batch_.table.name.c_str());
        mnl_attr_put_strz(message, NFTA_SET_NAME, op.set.c_str());
        keep(message);
    }

    void put(const AddRule& op) {
        const auto rule = to_nftnl(op.rule, batch_.table, op.chain);
        nlmsghdr* message = begin(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
        nftnl_rule_nlmsg_build_payload(message, rule.get());
        keep(message);
    }

    void put(const AddElements& op) { elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, op.elements, true); }
    void put(const DeleteElements& op) { elements(NFT_MSG_DELSETELEM, 0, op.elements, false); }

    void put(const DeleteCatchAll& op) {
        nlmsghdr* message = begin(NFT_MSG_DELSETELEM, 0);
        mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_TABLE, batch_.table.name.c_str());
        mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_SET, op.set.c_str());
        nlattr* list = mnl_attr_nest_start(message, NFTA_SET_ELEM_LIST_ELEMENTS);
        nlattr* element = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
        mnl_attr_put_u32(message, NFTA_SET_ELEM_FLAGS, htonl(kCatchAllFlag));
        mnl_attr_nest_end(message, element);
        mnl_attr_nest_end(message, list);
        keep(message);
    }

    // { { key, data }, { key, data }, … }, as many messages as it takes.
    void elements(std::uint16_t type, std::uint16_t flags, const Elements& elements, bool with_data) {
        const std::size_t each =
            4 + 8 + elements.key_bytes + (with_data && elements.data_bytes != 0 ? 8 + elements.data_bytes : 0);
        const std::size_t per_message = std::max<std::size_t>(1, kElementListBytes / each);
        for (std::size_t from = 0; from < elements.count(); from += per_message) {
            const std::size_t until = std::min(elements.count(), from + per_message);
            nlmsghdr* message = begin(type, flags, kElementsRoom + (until - from) * each, from);
            mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_TABLE, batch_.table.name.c_str());
            mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_SET, elements.set.c_str());
            nlattr* list = mnl_attr_nest_start(message, NFTA_SET_ELEM_LIST_ELEMENTS);
            for (std::size_t i = from; i < until; ++i) {
                const auto bytes = elements.at(i);
                nlattr* element = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
                value(message, NFTA_SET_ELEM_KEY, bytes.first(elements.key_bytes));
                if (with_data && elements.data_bytes != 0)
                    value(message, NFTA_SET_ELEM_DATA, bytes.subspan(elements.key_bytes));
                mnl_attr_nest_end(message, element);
            }
            mnl_attr_nest_end(message, list);
            keep(message);
        }
    }

    static void value(nlmsghdr* message, std::uint16_t type, std::span<const std::uint8_t> bytes) {
        nlattr* nest = mnl_attr_nest_start(message, type);
        mnl_attr_put(message, NFTA_DATA_VALUE, bytes.size(), bytes.data());
        mnl_attr_nest_end(message, nest);
    }

    nlmsghdr* begin(std::uint16_t type, std::uint16_t flags, std::size_t room = kMessageRoom,
                    std::size_t first_element = 0) {
        nlmsghdr* message = reserve(room);
        encoded_.messages.push_back({offset_, current_, first_element});
        nftnl_nlmsg_build_hdr(reinterpret_cast<char*>(message),
                              static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type),
                              nf_family(batch_.table.family), flags, sequence_++);
        last_offset_ = offset_;
        return message;
    }

    // Messages are built in place; the buffer only moves between messages.
    nlmsghdr* reserve(std::size_t room) {
        offset_ = encoded_.bytes.size();
        encoded_.bytes.resize(offset_ + room);
        return reinterpret_cast<nlmsghdr*>(encoded_.bytes.data() + offset_);
    }
    void keep(const nlmsghdr* message) { encoded_.bytes.resize(offset_ + NLMSG_ALIGN(message->nlmsg_len)); }

    const Batch& batch_;
    EncodedBatch encoded_;
    std::uint32_t sequence_;
    std::uint32_t set_id_ = 0;
    std::size_t current_ = 0;
    std::size_t offset_ = 0;
    std::size_t last_offset_ = 0;
};

}  // namespace

std::uint32_t data_type(const std::vector<Field>& fields, net::Family family) {
    constexpr unsigned kBitsPerType = 6;
    std::uint32_t type = 0;
    for (const Field field : fields) {
        std::uint32_t own = 0;
        switch (field) {
            case Field::kAddress: own = family == net::Family::kIpv4 ? 7 : 8; break;
            case Field::kProtocol: own = 12; break;
            case Field::kPort: own = 13; break;
            case Field::kNumber: own = 4; break;
        }
        type = type << kBitsPerType | own;
    }
    return type;
}

std::optional<std::size_t> EncodedBatch::element_at(const Message& message, std::size_t attribute_offset) const {
    const auto* header = reinterpret_cast<const nlmsghdr*>(bytes.data() + message.offset);
    const auto* wanted = bytes.data() + message.offset + attribute_offset;
    for (const nlattr* attribute : netlink::attributes(header, sizeof(nfgenmsg))) {
        if (mnl_attr_get_type(attribute) != NFTA_SET_ELEM_LIST_ELEMENTS) continue;
        std::size_t index = message.first_element;
        for (const nlattr* element : netlink::nested(attribute)) {
            const auto* begin = reinterpret_cast<const std::uint8_t*>(element);
            if (wanted >= begin && wanted < begin + element->nla_len) return index;
            ++index;
        }
    }
    return std::nullopt;
}

Result<EncodedBatch> encode(const Batch& batch, std::uint32_t first_sequence, Ending ending) {
    if (batch.empty()) return fail("nothing to commit to table {}", batch.table.name);
    Encoder encoder(batch, first_sequence);
    encoder.boundary(NFNL_MSG_BATCH_BEGIN);
    for (std::size_t i = 0; i < batch.operations.size(); ++i) encoder.operation(i);
    if (ending == Ending::kFailOnPurpose) encoder.impossible();
    auto encoded = encoder.finish();
    if (encoded.bytes.size() > INT_MAX / 2)
        return fail("a batch of {} bytes is too large for one message", encoded.bytes.size());
    return encoded;
}

}  // namespace ghostip::kernel::nft

// nf_tables values to netlink messages. Tables, sets, chains and rules through libnftnl; elements, of which there can
// be a million in a batch, straight through libmnl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "kernel/nft/kernel.h"

namespace ghostip::kernel::nft {

// A batch as one buffer for one sendmsg: begin, the messages, end.
struct EncodedBatch {
    std::vector<std::uint8_t> bytes;
    std::uint32_t first_sequence = 0;  // of the begin message
    // By sequence - first_sequence - 1.
    struct Message {
        std::size_t offset;         // into bytes
        std::size_t operation;      // index into Batch::operations
        std::size_t first_element;  // of those that the message carries; 0 if it carries none
    };
    std::vector<Message> messages;
    std::uint32_t last_sequence = 0;  // of the last message that asks for an answer

    // Which element of its operation a message's attribute at `attribute_offset` (from the message's start) is.
    [[nodiscard]] std::optional<std::size_t> element_at(const Message& message, std::size_t attribute_offset) const;
};

// NFT_SET_ELEM_CATCHALL (Linux 5.13), which older headers do not name.
inline constexpr std::uint32_t kCatchAllFlag = 2;

// What stands at the end of the batch.
enum class Ending : std::uint8_t {
    kCommit,
    kFailOnPurpose,  // one more message that cannot succeed, so that the kernel checks everything and keeps nothing
};

[[nodiscard]] Result<EncodedBatch> encode(const Batch& batch, std::uint32_t first_sequence, Ending ending);

// The numeric nft data type of a key: six bits a field (libnftables' concatenated datatypes).
[[nodiscard]] std::uint32_t data_type(const std::vector<Field>& fields, net::Family family);

}  // namespace ghostip::kernel::nft

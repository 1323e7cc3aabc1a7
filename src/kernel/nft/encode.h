// nf_tables values to netlink messages. Tables, sets, chains and rules through libnftnl; elements, of which there can
// be a million in a batch, straight through libmnl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "kernel/nft/kernel.h"

namespace ghostip::kernel::nft {

// A batch as one buffer for one sendmsg: begin, the messages, end.
struct EncodedBatch {
    std::vector<std::uint8_t> bytes;
    std::uint32_t first_sequence = 0;       // of the begin message
    std::vector<std::size_t> operation_of;  // by sequence - first_sequence - 1: index into Batch::operations
    std::uint32_t last_sequence = 0;        // of the last message that asks for an answer
};

// What stands at the end of the batch.
enum class Ending : std::uint8_t {
    kCommit,
    kFailOnPurpose,  // one more message that cannot succeed, so that the kernel checks everything and keeps nothing
};

[[nodiscard]] Result<EncodedBatch> encode(const Batch& batch, std::uint32_t first_sequence, Ending ending);

// The numeric nft data type of a key: six bits a field (libnftables' concatenated datatypes).
[[nodiscard]] std::uint32_t data_type(const std::vector<Field>& fields, net::Family family);

}  // namespace ghostip::kernel::nft

// What a version of iptables can do. Only text in, values out; the numbers are those that Kubernetes' proxy goes by.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/iptables/iptables.h"

namespace ghostip::kernel::iptables {

// From what the program says to --version: "iptables v1.8.9 (nf_tables)". Absent: no version in there.
[[nodiscard]] std::optional<Version> parse_version(std::string_view text);
// From the same. Versions before 1.8 name no variant, and know only the legacy one.
[[nodiscard]] Variant parse_variant(std::string_view text);

// How long a program waits for the lock: what has to stand on its command line.
[[nodiscard]] std::vector<std::string> wait_flags(Version version);  // of `iptables`

struct RestoreWait {
    std::vector<std::string> flags;
    bool own_locks = false;  // the program takes no lock: whoever calls it has to
};
// Of `iptables-restore`; old ones do not even know --version.
[[nodiscard]] RestoreWait restore_wait(Version version, bool answers_version);

// MASQUERADE --random-fully
[[nodiscard]] bool has_random_fully(Version version);

}  // namespace ghostip::kernel::iptables

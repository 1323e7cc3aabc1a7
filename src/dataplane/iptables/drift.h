// Foreign writes to the chains of this mode. The rules of iptables-nft are kept by nf_tables, which tells of every
// change; of iptables-legacy nobody tells, so there the canary is looked for (canary.h).
//
// The tables belong to everybody. Only what can break our rules counts: a change of our chains, and the loss of a
// jump to them. Whatever others do with their own is theirs.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/running_programs.h"
#include "dataplane/dataplane.h"
#include "kernel/nft/rule_writes.h"

namespace ghostip::dataplane::iptables {

// Whether that may break our rules, if others do it. Where the kernel does not tell enough: it may.
[[nodiscard]] bool concerns_us(const kernel::nft::Announcement& said);

// "2 rules deleted from KUBE-SVC-ABC of table nat, chain KUBE-SEP-DEF of table nat deleted"
[[nodiscard]] std::string describe(const kernel::nft::RuleWrite& write);

// Tells what the kernel tells, but for what the programs on these lists write.
[[nodiscard]] Result<std::unique_ptr<DriftWatch>> watch_notifications(
    std::vector<std::shared_ptr<RunningPrograms>> writers);

// Mode::watch, for instances of this mode.
[[nodiscard]] Result<std::unique_ptr<DriftWatch>> watch_drift(std::span<Dataplane* const> instances);

}  // namespace ghostip::dataplane::iptables

#include "kernel/nft/kernel.h"

#include <fmt/format.h>

namespace ghostip::kernel::nft {

std::string describe(const Operation& operation) {
    struct Visitor {
        std::string operator()(const AddTable&) const { return "add table"; }
        std::string operator()(const DeleteTable&) const { return "delete table"; }
        std::string operator()(const AddSet& op) const {
            return fmt::format("add {} {}", op.set.data.empty() ? "set" : "map", op.set.name);
        }
        std::string operator()(const AddChain& op) const { return fmt::format("add chain {}", op.name); }
        std::string operator()(const FlushChain& op) const { return fmt::format("flush chain {}", op.chain); }
        std::string operator()(const AddRule& op) const {
            return fmt::format("add rule to chain {}: {}", op.chain, op.rule.text);
        }
        std::string operator()(const DeleteChain& op) const { return fmt::format("delete chain {}", op.chain); }
        std::string operator()(const DeleteSet& op) const { return fmt::format("delete set {}", op.set); }
        std::string operator()(const AddElements& op) const {
            return fmt::format("add elements to {}", op.elements.set);
        }
        std::string operator()(const DeleteElements& op) const {
            return fmt::format("delete elements of {}", op.elements.set);
        }
        std::string operator()(const DeleteCatchAll& op) const {
            return fmt::format("delete the element for everything of {}", op.set);
        }
    };
    return std::visit(Visitor{}, operation);
}

}  // namespace ghostip::kernel::nft
